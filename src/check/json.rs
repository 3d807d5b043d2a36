//! The little JSON that results, orders to other processes and traces are written in.
//!
//! Knows whole numbers only; what needs all of its 64 bits elsewhere, such as a seed, is written
//! as text. A text is escaped so far that it can stand inside a script element of HTML: there
//! `</script>` and `<!--` would be heeded. A library would read and write more than is needed, and
//! be compiled by everybody.

use std::fmt;
use std::str::FromStr;

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

fn quoted(of: &str) -> String {
    let mut out = String::new();
    text(&mut out, of);
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
                for (place, value) in list.iter().enumerate() {
                    let comma = if place > 0 { "," } else { "" };
                    write!(f, "{comma}{value}")?;
                }
                f.write_str("]")
            }
            Self::Map(entries) => {
                f.write_str("{")?;
                for (place, (name, value)) in entries.iter().enumerate() {
                    f.write_str(if place > 0 { "," } else { "" })?;
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
        let mut reader = Reader { text, at: 0, depth: 0 };
        let value = reader.value()?;
        reader.blank();
        if reader.at < text.len() { Err(reader.expected("the end")) } else { Ok(value) }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

impl Reader<'_> {
    fn expected(&self, what: &str) -> String {
        format!("expected {what} at byte {}", self.at)
    }

    fn blank(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_ascii_start().len();
    }

    fn takes(&mut self, word: &str) -> bool {
        self.blank();
        let is_next = self.text[self.at..].starts_with(word);
        self.at += if is_next { word.len() } else { 0 };
        is_next
    }

    fn value(&mut self) -> Result<Json, String> {
        const DEEP: u32 = 64;
        for (word, value) in
            [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))]
        {
            if self.takes(word) {
                return Ok(value);
            }
        }
        if self.takes("\"") {
            return self.text().map(Json::Text);
        }
        self.depth += 1;
        if self.depth > DEEP {
            return Err(self.expected("less depth"));
        }
        let value = if self.takes("[") {
            self.items("]", Self::value).map(Json::List)
        } else if self.takes("{") {
            self.items("}", Self::entry).map(Json::Map)
        } else {
            self.number()
        };
        self.depth -= 1;
        value
    }

    fn number(&mut self) -> Result<Json, String> {
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number = rest[..end].parse().map_err(|_| self.expected("a value"))?;
        self.at += end;
        Ok(Json::Number(number))
    }

    fn entry(&mut self) -> Result<(String, Json), String> {
        if !self.takes("\"") {
            return Err(self.expected("a name"));
        }
        let name = self.text()?;
        if self.takes(":") { Ok((name, self.value()?)) } else { Err(self.expected("a colon")) }
    }

    fn items<T>(
        &mut self,
        end: &str,
        read: impl Fn(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let mut items = Vec::new();
        while !self.takes(end) {
            if !items.is_empty() && !self.takes(",") {
                return Err(self.expected("a comma"));
            }
            items.push(read(self)?);
        }
        Ok(items)
    }

    /// The text up to the next quotation mark, the first having been read.
    fn text(&mut self) -> Result<String, String> {
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.find(['"', '\\']).ok_or_else(|| self.expected("a quotation mark"))?;
            text.push_str(&rest[..plain]);
            self.at += plain + 1;
            if rest[plain..].starts_with('"') {
                return Ok(text);
            }
            text.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let wrong = self.expected("an escape");
        let c = self.text[self.at..].chars().next().ok_or_else(|| wrong.clone())?;
        self.at += c.len_utf8();
        Ok(match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let high = self.unit().ok_or_else(|| wrong.clone())?;
                // Others write what lies beyond 16 bits as two halves.
                let is_half = (0xD800..0xDC00).contains(&high) && self.takes("\\u");
                let low = if is_half { self.unit() } else { None };
                let code = low.map_or(high, |low| {
                    0x1_0000 + ((high - 0xD800) << 10) + (low.wrapping_sub(0xDC00) & 0x3FF)
                });
                char::from_u32(code).ok_or(wrong)?
            }
            '"' | '\\' | '/' => c,
            _ => return Err(wrong),
        })
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{Json, list, name, numbers, text};

    #[test]
    fn what_is_written_is_read() {
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
    fn what_others_write_is_read() {
        let value: Json = " { \"a\" : [ 1 , \"\\ud83e\\udd80\\/\\t\" ] }\n".parse().unwrap();
        assert_eq!(value.to_string(), "{\"a\":[1,\"🦀/\\u0009\"]}");
    }

    #[test]
    fn what_is_cut_off_or_malformed_is_an_error() {
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
