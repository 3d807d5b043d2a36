//! Quoting of names and paths: as a shell word, and in one line.

use std::ffi::OsStr;

/// A name or a path as a word of a command, whatever a shell would make of it.
///
/// Bytes that are no text, or would end the line, are written with escapes as `$'\x1b'`, which is a
/// word to `bash`, `zsh` and the shells of POSIX 2024.
pub(crate) fn shell_word(text: impl AsRef<OsStr>) -> String {
    let text = text.as_ref();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:=@%,".contains(c);
    match text.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(is_plain) => text.into(),
        Some(text) if !text.chars().any(is_unprintable) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        _ => format!("$'{}'", escaped(text)),
    }
}

/// Each byte that is no printable text as an escape.
fn escaped(text: &OsStr) -> String {
    let mut out = String::new();
    for chunk in text.as_encoded_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\'' | '\\' => out.extend(['\\', c]),
                c if is_unprintable(c) => {
                    let mut bytes = [0; 4];
                    out.extend(c.encode_utf8(&mut bytes).bytes().map(octal_escape));
                }
                c => out.push(c),
            }
        }
        out.extend(chunk.invalid().iter().copied().map(octal_escape));
    }
    out
}

/// Three digits, so that a digit behind them is none of theirs.
fn octal_escape(byte: u8) -> String {
    format!("\\{byte:03o}")
}

/// Whether a character ends a line somewhere, or has no picture.
fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// A name in one line, whatever is in it. Different names stay different.
pub(crate) fn escape_line(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            c if is_unprintable(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{escape_line, shell_word};
    use std::ffi::OsString;

    #[test]
    fn shell_word_quotes_only_where_needed() {
        for (word, expected) in [
            ("a::b/c-1.tape", "a::b/c-1.tape"),
            ("", "''"),
            ("two words", "'two words'"),
            ("it's $HOME", r"'it'\''s $HOME'"),
            ("a\n1\\'\u{1b}β", r"$'a\0121\\\'\033β'"),
            ("a\u{2028}b", r"$'a\342\200\250b'"),
        ] {
            assert_eq!(shell_word(word), expected, "{word:?}");
        }
    }

    /// The shell reads the same text back.
    #[test]
    #[cfg(unix)]
    fn shell_word_is_read_back_by_bash() {
        use std::os::unix::ffi::OsStringExt;
        let Ok(version) = std::process::Command::new("bash").arg("--version").output() else {
            return;
        };
        assert!(version.status.success());
        let words = [&b"\xff'7\n\\0"[..], b"", b" -n ", b"\x01\xe2\x80\xa8$x`y`\"", b"a\r"];
        for word in words.map(|word| OsString::from_vec(word.into())) {
            let script = format!("printf %s {}", shell_word(&word));
            let output = std::process::Command::new("bash").args(["-c", &script]).output();
            assert_eq!(OsString::from_vec(output.unwrap().stdout), word);
        }
    }

    #[test]
    fn escaped_names_are_one_line_and_stay_distinct() {
        assert_eq!(escape_line("store::a test \"β\"'"), "store::a test \"β\"'");
        assert_eq!(escape_line("a\nb\\n\u{7f}\0\u{2029}"), r"a\nb\\n\u{7f}\u{0}\u{2029}");
    }
}
