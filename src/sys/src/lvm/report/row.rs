//! One row of a report: columns by name, values in either dialect.

use super::Why;
use mirrorkeeper_core::ids::LvmUuid;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Columns of one row.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Row(BTreeMap<String, Value>);

impl Row {
    fn value(&self, column: &str) -> Why<&Value> {
        self.0.get(column).ok_or_else(|| format!("column {column} is missing"))
    }

    /// A text; null and undefined are empty, a list is joined by commas.
    pub fn text(&self, column: &str) -> Why<String> {
        match self.value(column)? {
            Value::String(text) => Ok(text.trim().to_owned()),
            Value::Null => Ok(String::new()),
            Value::Number(number) => Ok(number.to_string()),
            Value::Array(_) => Ok(self.list(column)?.join(",")),
            other => Err(format!("column {column}: {other} is no text")),
        }
    }

    /// The words of a list.
    pub fn list(&self, column: &str) -> Why<Vec<String>> {
        let Value::Array(items) = self.value(column)? else {
            let text = self.text(column)?;
            return Ok(text.split(',').map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect());
        };
        let word = |item: &Value| item.as_str().map(str::to_owned);
        items.iter().map(word).collect::<Option<_>>().ok_or_else(|| format!("column {column}: not a list of texts"))
    }

    /// A whole number that is not negative.
    pub fn number(&self, column: &str) -> Why<u64> {
        let text = self.text(column)?;
        text.parse().map_err(|_| format!("column {column}: {text:?} is no number"))
    }

    /// 0 or 1 (`--binary`). −1 is LVM's "undefined", as for an LV it cannot look at: not so, as far as anybody knows.
    /// `lv_active` ignored `--binary` for years (2.03.16 still does) and says `active`, or nothing.
    pub fn flag(&self, column: &str) -> Why<bool> {
        match self.text(column)?.as_str() {
            "1" | "active" => Ok(true),
            "0" | "-1" | "" => Ok(false),
            other => Err(format!("column {column}: {other:?} is neither 0 nor 1")),
        }
    }

    /// As [`Self::flag`], for a column that reports made for others may lack.
    pub fn flag_or(&self, column: &str, absent: bool) -> Why<bool> {
        if self.0.contains_key(column) { self.flag(column) } else { Ok(absent) }
    }

    /// A UUID.
    pub fn uuid(&self, column: &str) -> Why<LvmUuid> {
        LvmUuid::parse(&self.text(column)?).map_err(|e| format!("column {column}: {e}"))
    }
}
