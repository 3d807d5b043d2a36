//! Go's `Unquote`: parsing of quoted strings on the wire.
//!
//! It follows Go's `strconv`, and `Sscanf` in finding the end of a string. It returns bytes,
//! because a name on the wire need not be UTF-8. The inverse is `net`'s `go_quote`.

/// Reads a string, in double quotes or in back quotes, that stands at the beginning of `text`.
///
/// Returns the string and what follows it; `None` if there is none, or it is malformed. A byte
/// that is not UTF-8 is read as U+FFFD, as Go's scanner reads it: who means the byte writes
/// `\xff`.
pub fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (quote, mut rest) = text.split_first()?;
    let mut string = Vec::new();
    loop {
        // Nearly every string is nothing else.
        let plain = |byte: &&u8| matches!(byte, b' '..=b'~') && !b"\"`\\".contains(byte);
        let (plain, tail) = rest.split_at(rest.iter().take_while(plain).count());
        string.extend_from_slice(plain);
        rest = tail;
        let (&byte, after) = rest.split_first()?;
        match (quote, byte) {
            (b'"', b'"') | (b'`', b'`') => return Some((string, after)),
            (b'"', b'\\') => rest = unescape(after, &mut string)?,
            (b'"', b'\n') => return None,
            (b'"' | b'`', _) => rest = copy_char(rest, &mut string),
            _ => return None,
        }
    }
}

/// Copies one character; what is not UTF-8 byte by byte, each as U+FFFD.
fn copy_char<'a>(text: &'a [u8], string: &mut Vec<u8>) -> &'a [u8] {
    let len = match text[0] {
        0..0x80 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    let (char, len) = match text.get(..len).map(str::from_utf8) {
        Some(Ok(char)) => (char, len),
        _ => ("\u{fffd}", 1),
    };
    string.extend_from_slice(char.as_bytes());
    &text[len..]
}

/// Reads what follows a backslash between double quotes.
fn unescape<'a>(text: &'a [u8], string: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (&kind, after) = text.split_first()?;
    let byte = match kind {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' | b'"' => kind,
        b'x' => {
            let (code, rest) = parse_digits(after, 2, 16)?;
            string.push(code as u8);
            return Some(rest);
        }
        b'0'..=b'7' => {
            let (code, rest) = parse_digits(text, 3, 8)?;
            string.push(u8::try_from(code).ok()?);
            return Some(rest);
        }
        b'u' | b'U' => {
            let (code, rest) = parse_digits(after, if kind == b'u' { 4 } else { 8 }, 16)?;
            let char = char::from_u32(code)?;
            string.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(rest);
        }
        _ => return None,
    };
    string.push(byte);
    Some(after)
}

/// Reads `digits` digits.
fn parse_digits(text: &[u8], digits: usize, radix: u32) -> Option<(u32, &[u8])> {
    let (text, rest) = text.split_at_checked(digits)?;
    let add = |number: u32, &byte: &u8| {
        let digit = char::from(byte).to_digit(radix)?;
        number.checked_mul(radix)?.checked_add(digit)
    };
    Some((text.iter().try_fold(0, add)?, rest))
}

#[cfg(test)]
mod tests {
    use super::unquote;

    #[test]
    fn unquote_reads_both_quote_kinds_and_returns_the_rest() {
        let read = |text: &'static str| unquote(text.as_bytes());
        assert_eq!(read(r#""α\u03b2" x"#), Some(("αβ".into(), &b" x"[..])));
        assert_eq!(read("`a\\n\r\"`\n"), Some(("a\\n\r\"".into(), &b"\n"[..])));
        assert_eq!(read(r#""\316\262\xce\xb2\U000003b2""#), Some(("βββ".into(), &b""[..])));
        assert_eq!(read("\"a\tb\r\0\x7f'`\""), Some(("a\tb\r\0\x7f'`".into(), &b""[..])));
        let lossy = Some(("a\u{fffd}\u{fffd}b".into(), &b""[..]));
        assert_eq!(unquote(b"\"a\xe2\x82b\""), lossy, "each bad byte by itself");
        assert_eq!(unquote(b"`a\xff\xb2b`"), lossy);
        assert_eq!(unquote(br#""a\xffb""#), Some((b"a\xffb".to_vec(), &b""[..])));
    }

    #[test]
    #[rustfmt::skip]
    fn unquote_rejects_what_go_rejects() {
        for text in [
            "", "a", "'a'", "\"", "\"a", "`a", r#""\"#, r#""a\""#, r#""\'""#, r#""\/""#, r#""\0""#,
            r#""\e""#, r#""\x0""#, r#""\xg0""#, r#""\400""#, r#""\08""#, r#""\u{3b2}""#,
            r#""\ud800""#, r#""\U00110000""#, r#""\Uffffffff""#, r#""\u+123""#, "\"a\nb\"",
        ] {
            assert_eq!(unquote(text.as_bytes()), None, "{text:?}");
        }
    }
}
