//! LVM's configuration text, in which VG metadata is written: `key = value`, `key = [value, …]` and `section { … }`.
//!
//! Reads what LVM itself writes (lvm2 `libdm/libdm-config.c`) and refuses the rest; names and tags stand in quotes, so
//! none can pass for a brace or a key. Never recurses, and holds one array at a time, so no text can exhaust it.

use std::borrow::Cow;

/// Values kept of one array. A VG with this many tags has a text larger than LVM's own default area of 1 MiB.
const MOST_VALUES: usize = 65_536;

/// One step through a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<'a> {
    /// `name {`
    Open(Cow<'a, str>),
    /// `}`
    Close,
    /// `key = …`: a single value is an array of one, as LVM reads it.
    Set(Cow<'a, str>, Vec<Cow<'a, str>>),
}

#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    Mark(char),
    /// A key, a section's name or a number.
    Word(&'a str),
    /// What stood between quotes.
    Quoted(Cow<'a, str>),
    End,
}

/// The steps through a text, in its order. Ends after the first error, which names the byte it stands before.
#[derive(Debug)]
pub struct Items<'a> {
    text: &'a str,
    at: usize,
    failed: bool,
}

impl<'a> Items<'a> {
    /// From the beginning. As for LVM, the text ends at the first NUL.
    pub fn new(text: &'a str) -> Self {
        let text = text.split_once('\0').map_or(text, |(text, _)| text);
        Self { text, at: 0, failed: false }
    }

    fn item(&mut self) -> Result<Option<Item<'a>>, String> {
        let name = match self.token()? {
            Token::End => return Ok(None),
            Token::Mark('}') => return Ok(Some(Item::Close)),
            Token::Word(word) => Cow::Borrowed(word),
            Token::Quoted(text) => text,
            Token::Mark(mark) => return Err(self.wrong(&format!("{mark:?} where a name should be"))),
        };
        match self.token()? {
            Token::Mark('{') => Ok(Some(Item::Open(name))),
            Token::Mark('=') => Ok(Some(Item::Set(name, self.values()?))),
            _ => Err(self.wrong("a name without a section or a value")),
        }
    }

    fn values(&mut self) -> Result<Vec<Cow<'a, str>>, String> {
        let mut values = Vec::new();
        match self.token()? {
            Token::Mark('[') => {}
            token => return Ok(vec![self.value(token)?]),
        }
        loop {
            // LVM takes commas or leaves them, also before the end.
            match self.token()? {
                Token::Mark(']') => return Ok(values),
                Token::Mark(',') => {}
                token => values.push(self.value(token)?),
            }
            if values.len() > MOST_VALUES {
                return Err(self.wrong("an array that is too long"));
            }
        }
    }

    fn value(&self, token: Token<'a>) -> Result<Cow<'a, str>, String> {
        match token {
            Token::Quoted(text) => Ok(text),
            // LVM writes nothing but numbers without quotes.
            Token::Word(word) if word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => Ok(word.into()),
            _ => Err(self.wrong("neither a number nor a text in quotes")),
        }
    }

    fn token(&mut self) -> Result<Token<'a>, String> {
        self.skip_blank();
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(Token::End) };
        match first {
            '{' | '}' | '[' | ']' | '=' | ',' => {
                self.at += 1;
                Ok(Token::Mark(first))
            }
            '"' => self.quoted(),
            '\'' => Err(self.wrong("a kind of quotes that LVM does not write")),
            _ => {
                let end = rest.find(|c: char| is_space(c) || "#={}[],\"'".contains(c)).unwrap_or(rest.len());
                self.at += end;
                Ok(Token::Word(rest.get(..end).unwrap_or_default()))
            }
        }
    }

    /// Within quotes a backslash takes away the meaning of a quote or of another backslash, and is itself otherwise.
    fn quoted(&mut self) -> Result<Token<'a>, String> {
        let inside = self.rest().get(1..).unwrap_or_default();
        let mut plain = String::new();
        // Everything before this was put into `plain`.
        let mut taken = 0;
        let mut bytes = inside.bytes().enumerate();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    let tail = inside.get(taken..at).unwrap_or_default();
                    self.at += at + 2;
                    let whole = if taken == 0 { Cow::Borrowed(tail) } else { Cow::Owned(plain + tail) };
                    return Ok(Token::Quoted(whole));
                }
                b'\\' => {
                    if let Some((next, b'"' | b'\\')) = bytes.next() {
                        plain.push_str(inside.get(taken..at).unwrap_or_default());
                        taken = next;
                    }
                }
                _ => {}
            }
        }
        Err(self.wrong("a quote without its end"))
    }

    /// White space and comments, which go to the end of their line.
    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start_matches(is_space).len();
            self.at += blank;
            if !self.rest().starts_with('#') {
                return;
            }
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn wrong(&self, what: &str) -> String {
        format!("{what}, before byte {}", self.at)
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.item();
        self.failed = item.is_err();
        item.transpose()
    }
}

/// C's isspace.
fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
