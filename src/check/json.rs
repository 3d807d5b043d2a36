//! The little JSON that results, orders to other processes and traces are written in.
//!
//! Knows whole numbers only; what needs all of its 64 bits elsewhere, such as a seed, is written
//! as text. A text is escaped so far that it can stand inside a script element of HTML: there
//! `</script>` and `<!--` would be heeded. A library would read and write more than is needed, and
//! be compiled by everybody.

use std::fmt;
use std::str::FromStr;

/// Appends a text with its quotes.
pub(crate) fn write_text(out: &mut String, text: &str) {
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
pub(crate) fn write_list<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    out.push('[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

/// Appends a list of what prints as JSON does: numbers, truths.
pub(crate) fn write_numbers<T: ToString>(out: &mut String, items: impl IntoIterator<Item = T>) {
    write_list(out, items, |out, item| out.push_str(&item.to_string()));
}

/// Appends the name of a member, with a comma before all but the first.
pub(crate) fn write_key(out: &mut String, name: &str) {
    if !out.ends_with('{') {
        out.push(',');
    }
    write_text(out, name);
    out.push(':');
}

fn quoted(value: &str) -> String {
    let mut out = String::new();
    write_text(&mut out, value);
    out
}

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(u64),
    Text(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

impl Json {
    pub(crate) fn text(text: impl fmt::Display) -> Self {
        Self::Text(text.to_string())
    }

    /// A map in the order in which it is written.
    pub(crate) fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        Self::Map(entries.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
    }

    /// What stands under a name, if this is a map that has it.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        entries.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(crate) const fn as_number(&self) -> Option<u64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    pub(crate) const fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(truth) = self { Some(*truth) } else { None }
    }

    pub(crate) fn as_list(&self) -> Option<&[Self]> {
        if let Self::List(list) = self { Some(list) } else { None }
    }

    pub(crate) fn as_map(&self) -> Option<&[(String, Self)]> {
        if let Self::Map(entries) = self { Some(entries) } else { None }
    }
}

/// Writes it in one line.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(truth) => write!(f, "{truth}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::List(list) => {
                f.write_str("[")?;
                for (index, value) in list.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{value}")?;
                }
                f.write_str("]")
            }
            Self::Map(entries) => {
                f.write_str("{")?;
                for (index, (name, value)) in entries.iter().enumerate() {
                    f.write_str(if index > 0 { "," } else { "" })?;
                    f.write_str(&quoted(name))?;
                    write!(f, ":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

impl FromStr for Json {
    type Err = String;

    /// Reads one value, and says at which byte it cannot.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut reader = Parser { text, offset: 0, depth: 0 };
        let value = reader.parse_value()?;
        reader.skip_whitespace();
        if reader.offset < text.len() { Err(reader.expected("the end")) } else { Ok(value) }
    }
}

struct Parser<'a> {
    text: &'a str,
    offset: usize,
    depth: u32,
}

impl Parser<'_> {
    fn expected(&self, wanted: &str) -> String {
        format!("expected {wanted} at byte {}", self.offset)
    }

    fn skip_whitespace(&mut self) {
        let remaining = &self.text[self.offset..];
        self.offset += remaining.len() - remaining.trim_ascii_start().len();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip_whitespace();
        let is_next = self.text[self.offset..].starts_with(token);
        self.offset += if is_next { token.len() } else { 0 };
        is_next
    }

    fn parse_value(&mut self) -> Result<Json, String> {
        const MAX_DEPTH: u32 = 64;
        for (word, value) in
            [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))]
        {
            if self.eat(word) {
                return Ok(value);
            }
        }
        if self.eat("\"") {
            return self.parse_text().map(Json::Text);
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.expected("less depth"));
        }
        let value = if self.eat("[") {
            self.parse_items("]", Self::parse_value).map(Json::List)
        } else if self.eat("{") {
            self.parse_items("}", Self::parse_member).map(Json::Map)
        } else {
            self.parse_number()
        };
        self.depth -= 1;
        value
    }

    fn parse_number(&mut self) -> Result<Json, String> {
        let remaining = &self.text[self.offset..];
        let end = remaining.find(|c: char| !c.is_ascii_digit()).unwrap_or(remaining.len());
        let number = remaining[..end].parse().map_err(|_| self.expected("a value"))?;
        self.offset += end;
        Ok(Json::Number(number))
    }

    fn parse_member(&mut self) -> Result<(String, Json), String> {
        if !self.eat("\"") {
            return Err(self.expected("a name"));
        }
        let name = self.parse_text()?;
        if self.eat(":") { Ok((name, self.parse_value()?)) } else { Err(self.expected("a colon")) }
    }

    fn parse_items<T>(
        &mut self,
        end: &str,
        read: impl Fn(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let mut items = Vec::new();
        while !self.eat(end) {
            if !items.is_empty() && !self.eat(",") {
                return Err(self.expected("a comma"));
            }
            items.push(read(self)?);
        }
        Ok(items)
    }

    /// The text up to the next quotation mark, the first having been read.
    fn parse_text(&mut self) -> Result<String, String> {
        let mut text = String::new();
        loop {
            let remaining = &self.text[self.offset..];
            let plain_len =
                remaining.find(['"', '\\']).ok_or_else(|| self.expected("a quotation mark"))?;
            text.push_str(&remaining[..plain_len]);
            self.offset += plain_len + 1;
            if remaining[plain_len..].starts_with('"') {
                return Ok(text);
            }
            text.push(self.parse_escape()?);
        }
    }

    fn parse_escape(&mut self) -> Result<char, String> {
        let error = self.expected("an escape");
        let c = self.text[self.offset..].chars().next().ok_or_else(|| error.clone())?;
        self.offset += c.len_utf8();
        Ok(match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let high = self.parse_hex4().ok_or_else(|| error.clone())?;
                // Others write what lies beyond 16 bits as two halves.
                let is_surrogate = (0xD800..0xDC00).contains(&high) && self.eat("\\u");
                let low = if is_surrogate { self.parse_hex4() } else { None };
                let code = low.map_or(high, |low| {
                    0x1_0000 + ((high - 0xD800) << 10) + (low.wrapping_sub(0xDC00) & 0x3FF)
                });
                char::from_u32(code).ok_or(error)?
            }
            '"' | '\\' | '/' => c,
            _ => return Err(error),
        })
    }

    /// Four hexadecimal digits.
    fn parse_hex4(&mut self) -> Option<u32> {
        let digits = self.text.get(self.offset..self.offset + 4)?;
        self.offset += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{Json, write_key, write_list, write_numbers, write_text};

    #[test]
    fn written_json_is_read_back() {
        let value = Json::map([
            ("text", Json::text("a \"quote\", a \\, a\nline, \u{1}, α, 🦀")),
            ("numbers", Json::List(vec![Json::Number(0), Json::Number(u64::MAX)])),
            ("nothing", Json::List(vec![Json::Null, Json::Bool(true), Json::Map(vec![])])),
        ]);
        let text = value.to_string();
        assert!(!text.contains('\n'), "{text}");
        assert_eq!(text.parse(), Ok(value));
    }

    #[test]
    fn json_with_whitespace_and_surrogates_is_read() {
        let value: Json = " { \"a\" : [ 1 , \"\\ud83e\\udd80\\/\\t\" ] }\n".parse().unwrap();
        assert_eq!(value.to_string(), "{\"a\":[1,\"🦀/\\u0009\"]}");
    }

    #[test]
    fn truncated_or_malformed_json_is_an_error() {
        let text = "{\"a\":[1,\"\\u0041\",true]}";
        for end in 0..text.len() {
            assert!(text[..end].parse::<Json>().is_err(), "{}", &text[..end]);
        }
        for text in ["1 2", "-1", "1.5", "{1:2}", "[1 2]", "\"\\x\"", "\"\\ud83e\""] {
            assert!(text.parse::<Json>().is_err(), "{text}");
        }
        assert!("[".repeat(100_000).parse::<Json>().is_err());
        assert_eq!("[1,}".parse::<Json>(), Err("expected a value at byte 3".into()));
    }

    #[test]
    fn text_is_escaped_for_json_and_html_scripts() {
        let mut out = String::new();
        write_text(&mut out, "a\"b\\c\n</script><!--&\u{2028}\0\x1b\u{85}é🦀");
        let expected = concat!(
            r#""a\"b\\c\n\u003c/script\u003e\u003c!--\u0026"#,
            r#"\u2028\u0000\u001b\u0085é🦀""#
        );
        assert_eq!(out, expected);
    }

    #[test]
    fn lists_and_members_are_separated_by_commas() {
        let mut out = String::from("{");
        write_key(&mut out, "a");
        write_numbers(&mut out, [1, 2]);
        write_key(&mut out, "b");
        write_list(&mut out, ["x"], write_text);
        assert_eq!(out, r#"{"a":[1,2],"b":["x"]"#);
    }
}
