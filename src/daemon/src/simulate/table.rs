//! Tables of a file in TOML, read by hand: every complaint names file, line and key.

use crate::config::{Place, Problem};
use std::borrow::Cow;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// `90`, `90s`, `15m` or `2h`, in seconds.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = match text.char_indices().last()? {
        (_, '0'..='9') => (text, 1),
        (at, 's') => (&text[..at], 1),
        (at, 'm') => (&text[..at], 60),
        (at, 'h') => (&text[..at], 3600),
        _ => return None,
    };
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| number.parse::<u64>().ok()?.checked_mul(unit)).flatten()
}

/// A text whose lines can be named.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Its name.
    pub file: &'a Path,
    /// All of it.
    pub text: &'a str,
}

impl Source<'_> {
    /// Something is wrong there.
    pub fn problem(&self, span: Option<Range<usize>>, why: &str) -> Problem {
        let line = span.map(|span| 1 + self.text.bytes().take(span.start).filter(|b| *b == b'\n').count());
        Problem { place: Place { file: self.file.to_owned(), line }, why: why.to_owned() }
    }
}

/// A table of the file, with the place it stands at.
pub struct Table<'a, 'i> {
    source: Source<'a>,
    name: &'a str,
    span: Range<usize>,
    keys: &'a DeTable<'i>,
}

impl<'a, 'i> Table<'a, 'i> {
    /// The file itself.
    pub fn top(source: Source<'a>, keys: &'a DeTable<'i>) -> Self {
        Self { source, name: "the file", span: 0..0, keys }
    }

    /// Something is wrong with a key, or with its absence.
    pub fn wrong(&self, key: &str, why: &str) -> Problem {
        let span = self.keys.get_key_value(key).map_or(self.span.clone(), |(name, _)| name.span());
        self.source.problem(Some(span), &format!("{key}: {why}"))
    }

    fn get(&self, key: &str) -> Option<&'a DeValue<'i>> {
        self.keys.get(key).map(Spanned::get_ref)
    }

    /// There are no other keys than these.
    ///
    /// # Errors
    /// Anything else.
    pub fn only(&self, known: &[&str]) -> Result<(), Problem> {
        match self.keys.keys().find(|key| !known.contains(&key.get_ref().as_ref())) {
            Some(key) => {
                let (name, known) = (key.get_ref(), known.join(", "));
                Err(self.wrong(name, &format!("no such key; {} has {known}", self.name)))
            }
            None => Ok(()),
        }
    }

    /// A table within.
    ///
    /// # Errors
    /// Anything else.
    pub fn table(&self, key: &'a str) -> Result<Option<Table<'a, 'i>>, Problem> {
        match self.keys.get(key).map(|value| (value.span(), value.get_ref())) {
            None => Ok(None),
            Some((span, DeValue::Table(keys))) => Ok(Some(Table { source: self.source, name: key, span, keys })),
            Some(_) => Err(self.wrong(key, "write it as a table")),
        }
    }

    /// Tables of one name.
    ///
    /// # Errors
    /// Anything else.
    pub fn tables(&self, key: &'a str) -> Result<Vec<Table<'a, 'i>>, Problem> {
        let list = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(DeValue::Array(list)) => list,
            Some(_) => return Err(self.wrong(key, "write [[step]] before each")),
        };
        let table = |value: &'a Spanned<DeValue<'i>>| match value.get_ref() {
            DeValue::Table(keys) => Ok(Table { source: self.source, name: key, span: value.span(), keys }),
            _ => Err(self.wrong(key, "write [[step]] before each")),
        };
        list.iter().map(table).collect()
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// Anything else.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Problem> {
        match self.get(key) {
            None => Ok(None),
            Some(DeValue::Boolean(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong(key, "accepted are true and false")),
        }
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    /// Anything else.
    pub fn number(&self, key: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, Problem> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = match value {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let wrong = || self.wrong(key, &format!("accepted are whole numbers, {} to {}", range.start(), range.end()));
        number.filter(|number| range.contains(number)).map(Some).ok_or_else(wrong)
    }

    /// A text.
    ///
    /// # Errors
    /// Anything else.
    pub fn word(&self, key: &str) -> Result<Option<&'a str>, Problem> {
        match self.get(key) {
            None => Ok(None),
            Some(DeValue::String(word)) => Ok(Some(word.as_ref())),
            Some(_) => Err(self.wrong(key, "accepted is a text in quotes")),
        }
    }

    /// A list of texts.
    ///
    /// # Errors
    /// Anything else.
    pub fn words(&self, key: &str) -> Result<Vec<Cow<'a, str>>, Problem> {
        let wrong = || self.wrong(key, "accepted is a list of texts in quotes");
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(DeValue::Array(list)) => list
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(word) => Ok(word.clone()),
                    _ => Err(wrong()),
                })
                .collect(),
            Some(_) => Err(wrong()),
        }
    }

    /// What may not be left out.
    ///
    /// # Errors
    /// Anything else.
    pub fn must<T>(&self, key: &str, found: Option<T>) -> Result<T, Problem> {
        found.ok_or_else(|| self.wrong(key, "is missing"))
    }

    /// One of the words of a table.
    /// What one of some words stands for.
    ///
    /// # Errors
    /// Anything else.
    pub fn one_of<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<T, Problem> {
        let given = self.must(key, self.word(key)?)?;
        let names = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        let found = words.iter().find(|(word, _)| *word == given).map(|(_, thing)| *thing);
        found.ok_or_else(|| self.wrong(key, &format!("{given:?}: accepted are {}", names())))
    }

    /// A span of time in seconds, not above `most`.
    ///
    /// # Errors
    /// Anything else.
    pub fn span_of_time(&self, key: &str, most: u64) -> Result<u64, Problem> {
        let given = self.must(key, self.word(key)?)?;
        let wrong = || self.wrong(key, &format!("{given:?}: accepted are times such as \"20s\", \"5m\", \"1h\""));
        seconds(given).filter(|seconds| *seconds <= most).ok_or_else(wrong)
    }
}
