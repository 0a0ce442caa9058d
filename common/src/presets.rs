//! Spaces that ship with Espalier, written in the language of specs. Imports nothing.

/// A space that a spec may take and override parts of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Its name, as `preset:` takes it.
    pub name: &'static str,
    /// Its text: the parts of a spec that say what may be proposed and how it is trained.
    pub text: &'static str,
}

/// Their names, in this order.
pub(crate) const NAMES: [&str; 7] = [
    "darts",
    "mlp",
    "mobilenet",
    "nas-bench-201",
    "resnet",
    "text-cnn",
    "transformer",
];

static PRESETS: [Preset; NAMES.len()] = [
    Preset {
        name: NAMES[0],
        text: include_str!("presets/darts.yaml"),
    },
    Preset {
        name: NAMES[1],
        text: include_str!("presets/mlp.yaml"),
    },
    Preset {
        name: NAMES[2],
        text: include_str!("presets/mobilenet.yaml"),
    },
    Preset {
        name: NAMES[3],
        text: include_str!("presets/nas-bench-201.yaml"),
    },
    Preset {
        name: NAMES[4],
        text: include_str!("presets/resnet.yaml"),
    },
    Preset {
        name: NAMES[5],
        text: include_str!("presets/text-cnn.yaml"),
    },
    Preset {
        name: NAMES[6],
        text: include_str!("presets/transformer.yaml"),
    },
];

/// All presets, by name.
#[must_use]
pub fn all() -> &'static [Preset] {
    &PRESETS
}

/// The preset of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

impl Preset {
    /// What it is, in one line: the first sentences of its text.
    #[must_use]
    pub fn about(&self) -> String {
        let comments = self.text.lines().map_while(|line| line.strip_prefix("# "));
        let all = comments.collect::<Vec<_>>().join(" ");
        // The paper it comes from is for who reads on.
        all.split(" After ").next().unwrap_or_default().to_owned()
    }
}

/// What errors call the text of the preset with this index.
pub(crate) fn file_name(index: u8) -> String {
    let name = PRESETS
        .get(usize::from(index))
        .map_or("", |preset| preset.name);
    format!("preset {name}")
}
