//! Where a regret stands on a plot's axis, and which ticks the axis has. Pure.

/// Medians that differ by so many times are drawn on a logarithmic scale.
const LOGARITHMIC_FROM: f64 = 20.0;
/// The most decades of a logarithmic scale; less than that is drawn at its foot.
const DECADES: f64 = 4.0;
/// How far below the foot of a logarithmic scale zero stands, in decades.
const TO_ZERO: f64 = 0.35;

/// An axis of regrets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// From zero on.
    Linear { top: f64 },
    /// By powers of ten; zero, which such a scale lacks, stands below a gap.
    Logarithmic {
        foot: f64,
        top: f64,
        with_zero: bool,
    },
}

impl Scale {
    /// For medians and whatever else is drawn.
    pub(super) fn of(
        medians: impl Iterator<Item = f64>,
        others: impl Iterator<Item = f64>,
    ) -> Self {
        let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
        let mut has_zero = false;
        for median in medians.filter(|value| value.is_finite()) {
            has_zero |= median == 0.0;
            most = most.max(median);
            if median > 0.0 {
                least = least.min(median);
            }
        }
        let mut top = most;
        let mut foot = least;
        for other in others.filter(|value| value.is_finite()) {
            has_zero |= other == 0.0;
            top = top.max(other);
            if other > 0.0 {
                foot = foot.min(other);
            }
        }
        if most < LOGARITHMIC_FROM * least {
            let top = if top > 0.0 { top } else { 1.0 };
            return Self::Linear { top: top * 1.04 };
        }
        let foot = foot.max(top / 10_f64.powf(DECADES));
        Self::Logarithmic {
            foot: round_down(foot),
            top: top * 1.1,
            with_zero: has_zero,
        }
    }

    /// The place of a regret, in the axis's own unit.
    pub(super) fn place(self, regret: f64) -> f64 {
        match self {
            Self::Linear { .. } => regret,
            Self::Logarithmic {
                foot,
                with_zero: true,
                ..
            } if regret <= 0.0 => foot.log10() - TO_ZERO,
            Self::Logarithmic { foot, .. } => regret.max(foot).log10(),
        }
    }

    /// Both ends of the axis.
    pub(super) fn ends(self) -> (f64, f64) {
        match self {
            Self::Linear { top } => (0.0, top),
            Self::Logarithmic { top, .. } => (self.place(0.0), top.log10()),
        }
    }

    /// Regrets with a line and a number.
    pub(super) fn ticks(self) -> Vec<f64> {
        let (foot, top, with_zero) = match self {
            Self::Linear { top } => return even_ticks(top),
            Self::Logarithmic {
                foot,
                top,
                with_zero,
            } => (foot, top, with_zero),
        };
        let steps: &[f64] = if (top / foot).log10() > 2.5 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let first = foot.log10().floor() as i32;
        let last = top.log10().ceil() as i32;
        let powers = (first..=last).map(|power| 10_f64.powi(power));
        let all = powers.flat_map(|ten| steps.iter().map(move |step| step * ten));
        // Rounding must not drop the foot itself.
        let within = all.filter(|&tick| tick >= foot * 0.999 && tick <= top);
        with_zero.then_some(0.0).into_iter().chain(within).collect()
    }
}

/// Four to eight ticks from zero on.
pub(super) fn even_ticks(top: f64) -> Vec<f64> {
    let rough = top / 5.0;
    let ten = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * ten);
    let step = steps.into_iter().find(|&step| step >= rough * 0.8);
    let step = step.unwrap_or(ten * 10.0);
    let count = (top / step).floor();
    (0..=count as u32)
        .map(|number| f64::from(number) * step)
        .collect()
}

/// Down to 1, 2 or 5 times a power of ten.
fn round_down(value: f64) -> f64 {
    let ten = 10_f64.powf(value.log10().floor());
    let steps = [5.0, 2.0, 1.0].map(|step| step * ten);
    let below = steps.into_iter().find(|&step| step <= value * 1.000_001);
    below.unwrap_or(ten)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(medians: &[f64], others: &[f64]) -> Scale {
        Scale::of(medians.iter().copied(), others.iter().copied())
    }

    #[test]
    fn regrets_of_one_size_are_drawn_from_zero_on() {
        let scale = of(&[1.0, 2.0, f64::INFINITY], &[0.0, 5.0]);
        assert_eq!(scale, Scale::Linear { top: 5.2 });
        assert_eq!(scale.ticks(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(of(&[], &[]).ends(), (0.0, 1.04));
        assert_eq!(of(&[0.0], &[0.0]).ends(), (0.0, 1.04));
    }

    #[test]
    fn regrets_of_many_sizes_are_drawn_by_powers_and_zero_below_a_gap() {
        let scale = of(&[10.0, 0.03, 0.0], &[20.0, 0.01]);
        assert_eq!(scale.ticks(), [0.0, 0.01, 0.1, 1.0, 10.0]);
        assert!(scale.place(0.0) < scale.place(0.01));
        assert_eq!(scale.place(0.001), scale.place(0.01));
        assert_eq!(scale.ends().0, scale.place(0.0));
        let without = of(&[10.0, 0.4], &[]);
        assert_eq!(without.ticks(), [0.2, 0.5, 1.0, 2.0, 5.0, 10.0]);
    }

    #[test]
    fn numbers_far_apart_do_not_make_an_axis_of_many_decades() {
        let ticks = of(&[100.0, 1e-12], &[]).ticks();
        assert_eq!(ticks.len(), 5);
    }
}
