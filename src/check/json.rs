//! JSON, as far as it is written here.
//!
//! Knows texts, numbers and lists; refuses to know what they mean. A text is escaped so far that it
//! can stand inside a script element of HTML: there `</script>` and `<!--` would be heeded.

/// Appends a text with its quotes.
pub(crate) fn text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            // What HTML heeds, what ends a line in old scripts, and what has no picture.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' | '\x7f'..='\u{9f}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Appends a list, each item as `write` does it.
pub(crate) fn list<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    out.push('[');
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

/// Appends a list of what prints as JSON does: numbers, truths.
pub(crate) fn numbers<T: ToString>(out: &mut String, items: impl IntoIterator<Item = T>) {
    list(out, items, |out, item| out.push_str(&item.to_string()));
}

/// Appends the name of a member, with a comma before all but the first.
pub(crate) fn name(out: &mut String, name: &str) {
    if !out.ends_with('{') {
        out.push(',');
    }
    text(out, name);
    out.push(':');
}

#[cfg(test)]
mod tests {
    use super::{list, name, numbers, text};

    #[test]
    fn nothing_in_a_text_ends_it_or_the_script_around_it() {
        let mut out = String::new();
        text(&mut out, "a\"b\\c\n</script><!--&\u{2028}\0\x1b\u{85}é🦀");
        let expected = concat!(
            r#""a\"b\\c\n\u003c/script\u003e\u003c!--\u0026"#,
            r#"\u2028\u0000\u001b\u0085é🦀""#
        );
        assert_eq!(out, expected);
    }

    #[test]
    fn lists_and_members_have_their_commas() {
        let mut out = String::from("{");
        name(&mut out, "a");
        numbers(&mut out, [1, 2]);
        name(&mut out, "b");
        list(&mut out, ["x"], text);
        assert_eq!(out, r#"{"a":[1,2],"b":["x"]"#);
    }
}
