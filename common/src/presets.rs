//! Spaces that ship with Espalier, written in the language of specs. Imports nothing.

/// A space that a spec may take and override parts of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Its name, as `preset:` takes it.
    pub name: &'static str,
    /// Its text: the parts of a spec that say what may be proposed and how it is trained.
    pub text: &'static str,
}

/// The presets whose texts are the files of these names, and the names alone.
macro_rules! presets {
    ($($name:literal),+ $(,)?) => {
        /// Their names, in this order.
        pub(crate) const NAMES: [&str; [$($name),+].len()] = [$($name),+];

        static PRESETS: [Preset; NAMES.len()] = [$(Preset {
            name: $name,
            text: include_str!(concat!("presets/", $name, ".yaml")),
        }),+];
    };
}

presets![
    "darts",
    "mlp",
    "mobilenet",
    "nas-bench-201",
    "resnet",
    "text-cnn",
    "transformer",
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
