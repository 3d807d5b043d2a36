//! Files of recordings, read line by line.
//!
//! Knows where they are and their form, and names file and line of whatever is malformed.

use std::path::PathBuf;

use serde_json::{Map, Value};
use virtnet::Args;

/// One scenario in one mode.
pub(crate) struct ScenarioRecord {
    pub(crate) scenario: String,
    pub(crate) mode: String,
    /// All ways in which it went.
    pub(crate) variants: Vec<Vec<Step>>,
}

/// One line of a transcript.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) op: String,
    pub(crate) target: String,
    pub(crate) args: Vec<Value>,
    /// The name of what it makes.
    pub(crate) creates: Option<String>,
    /// The name under which it goes on in the background, or of what is asked about.
    pub(crate) task: Option<String>,
    pub(crate) out: Option<Value>,
    pub(crate) note: Option<String>,
}

impl ScenarioRecord {
    pub(crate) fn parse(location: &str, line: &Value) -> Self {
        let text = |key: &str| match line[key].as_str() {
            Some(text) => text.to_string(),
            None => panic!("{location}: no `{key}`"),
        };
        let Some(variants) = line["variants"].as_array() else {
            panic!("{location}: no `variants`")
        };
        let steps = |variant: &Value| match variant["steps"].as_array() {
            Some(steps) => steps.iter().map(|step| Step::parse(location, step)).collect(),
            None => panic!("{location}: a variant without `steps`"),
        };
        let variants = variants.iter().map(steps).collect();
        Self { scenario: text("scenario"), mode: text("mode"), variants }
    }
}

impl Step {
    fn parse(location: &str, step: &Value) -> Self {
        let Some(fields) = step.as_object() else { panic!("{location}: a step is no object") };
        let known = ["op", "on", "args", "as", "async", "out", "note"];
        if let Some(key) = fields.keys().find(|key| !known.contains(&key.as_str())) {
            panic!("{location}: nobody knows what `{key}` of a step is");
        }
        if !fields.contains_key("op") && !fields.contains_key("note") {
            panic!("{location}: a step with neither `op` nor `note`");
        }
        let text = |key: &str| optional_text(location, fields, key);
        Self {
            op: text("op").unwrap_or_default(),
            target: text("on").unwrap_or_default(),
            args: fields.get("args").and_then(Value::as_array).cloned().unwrap_or_default(),
            creates: text("as"),
            task: text("async"),
            out: fields.get("out").cloned(),
            note: text("note"),
        }
    }
}

fn optional_text(location: &str, fields: &Map<String, Value>, key: &str) -> Option<String> {
    let value = fields.get(key)?;
    match value.as_str() {
        Some(text) => Some(text.to_string()),
        None => panic!("{location}: `{key}` is no text: {value}"),
    }
}

/// Reads a file of the recording.
pub(crate) fn read_file(file: &str) -> String {
    let path = recording_folder().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Gives the lines of a file, each with its place.
pub(crate) fn read_lines(file: &str) -> Vec<(String, Value)> {
    let path = recording_folder().join(file);
    let text = read_file(file);
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parse = |(index, line): (usize, &str)| {
        let location = format!("{}:{}", path.display(), index + 1);
        let value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{location}: {error}"));
        (location, value)
    };
    lines.map(parse).collect()
}

/// What is said here where the reference prints control characters of a name as they are.
pub(crate) fn escape_control_chars(text: &str) -> String {
    let quoted = |c: char| Args::One(c.to_string()).to_string();
    let escape = |c: char| match c.is_control() {
        true => quoted(c).trim_start().trim_matches('"').to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

fn recording_folder() -> PathBuf {
    match std::env::var_os("VIRTNET_REFERENCE") {
        Some(folder) => folder.into(),
        None => concat!(env!("CARGO_MANIFEST_DIR"), "/reference").into(),
    }
}
