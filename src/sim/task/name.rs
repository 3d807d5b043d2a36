//! The names of tasks: given ones, and those of tasks that are called by their function.

use std::borrow::Cow;
use std::sync::Arc;

/// The name of a task.
#[derive(Clone, Debug)]
pub(crate) enum TaskName {
    /// By the type of its future, which says the function and not the line. A function that gives
    /// the text and not the text, so that a name is two words.
    Type(fn() -> &'static str),
    Given(Arc<str>),
}

impl TaskName {
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Type(type_name) => Cow::Owned(short_type_name(type_name())),
            Self::Given(text) => Cow::Borrowed(text),
        }
    }
}

/// Shortens the name of a future's type to that of the function, method or type behind it:
/// `bank::Server::run::{{closure}}` to `Server::run`, and so within type arguments. The modules are
/// left out, so that a function that moves keeps its choices.
pub(crate) fn short_type_name(full: &str) -> String {
    let mut short = String::new();
    let mut rest = full;
    while !rest.is_empty() {
        let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '{' | '}');
        let end = rest.find(|c| !is_path(c)).unwrap_or(rest.len());
        let (path, after) = rest.split_at(end);
        let names = path.split("::").filter(|name| !name.is_empty() && *name != "{{closure}}");
        let names: Vec<&str> = names.collect();
        // Behind type arguments a path goes on: `Map<T>::poll`.
        if !names.is_empty() && path.starts_with("::") {
            short.push_str("::");
        }
        if let Some((last, above)) = names.split_last() {
            let is_type = |name: &&str| name.starts_with(char::is_uppercase);
            if let Some(owner) = above.last().filter(|owner| is_type(owner) && !is_type(last)) {
                short.push_str(owner);
                short.push_str("::");
            }
            short.push_str(last);
        }
        let mut after_chars = after.chars();
        short.extend(after_chars.next());
        rest = after_chars.as_str();
    }
    short
}
