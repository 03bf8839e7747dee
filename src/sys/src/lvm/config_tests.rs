use super::*;
use proptest::prelude::*;

fn items(text: &str) -> Result<Vec<Item<'_>>, String> {
    Items::new(text).collect()
}

fn set<'a>(key: &'a str, values: &[&'a str]) -> Item<'a> {
    Item::Set(key.into(), values.iter().map(|v| Cow::Borrowed(*v)).collect())
}

#[test]
fn sections_values_and_comments() {
    let text = "# a { comment\nvg0 {# }\n\tid = \"x\" seqno=8\n\n tags = [\"a\", \"b\" ,\"c\",]\nnone=[ ] f = -1.5 }";
    let wanted = [
        Item::Open("vg0".into()),
        set("id", &["x"]),
        set("seqno", &["8"]),
        set("tags", &["a", "b", "c"]),
        set("none", &[]),
        set("f", &["-1.5"]),
        Item::Close,
    ];
    assert_eq!(items(text).unwrap(), wanted);
    assert_eq!(items("").unwrap(), []);
    assert_eq!(items(" # only this").unwrap(), []);
    assert_eq!(items("a = 1\0 not } looked at").unwrap(), [set("a", &["1"])]);
}

#[test]
fn what_stands_in_quotes_is_text() {
    for (written, meant) in [
        (r#"} flags = ["MISSING"] # {"#.replace('"', r#"\""#), r#"} flags = ["MISSING"] # {"#),
        (r"a\\".into(), r"a\"),
        (r#"\\\""#.into(), r#"\""#),
        (r"\n\x".into(), r"\n\x"),
        ("über\nzwei".into(), "über\nzwei"),
        (String::new(), ""),
    ] {
        let text = format!("a = \"{written}\"");
        assert_eq!(items(&text).unwrap(), [set("a", &[meant])], "{written}");
    }
    // A name may be quoted too, when it has characters that a bare one cannot.
    assert_eq!(items("\"a {\" { }").unwrap(), [Item::Open("a {".into()), Item::Close]);
}

#[test]
fn what_lvm_does_not_write_is_refused_and_ends_the_reading() {
    for (text, why) in [
        ("a", "a name without a section or a value"),
        ("a }", "a name without a section or a value"),
        ("= 1", "'=' where a name should be"),
        ("a = ", "neither a number nor a text in quotes"),
        ("a = word", "neither a number nor a text in quotes"),
        ("a = [1", "neither a number nor a text in quotes"),
        ("a = [[1]]", "neither a number nor a text in quotes"),
        ("a = {", "neither a number nor a text in quotes"),
        ("a = \"x", "a quote without its end"),
        ("a = \"x\\\"", "a quote without its end"),
        ("a = 'x'", "a kind of quotes that LVM does not write"),
    ] {
        let mut steps = Items::new(text);
        let said = steps.next().unwrap().unwrap_err();
        assert!(said.starts_with(why), "{text}: {said}");
        assert_eq!(steps.next(), None, "{text}");
    }
    let long = format!("a = [{}]", "1,".repeat(MOST_VALUES + 1));
    assert!(items(&long).unwrap_err().starts_with("an array that is too long"));
    assert!(items(&format!("a = [{}]", "1,".repeat(MOST_VALUES))).is_ok());
}

proptest! {
    #[test]
    fn no_text_panics(text in "([a-z]{1,3}|[0-9]| |\"|\\\\|=|\\[|\\]|\\{|\\}|,|#|'|\n|\0|.){0,60}") {
        // Every step moves on: there are no more than there are bytes.
        prop_assert!(Items::new(&text).count() <= text.len() + 1);
    }

    #[test]
    fn every_quoted_text_comes_through(text in "[^\0]{0,40}") {
        let written = text.replace('\\', "\\\\").replace('"', "\\\"");
        let whole = format!("a = [\"{written}\"] }}");
        prop_assert_eq!(items(&whole).unwrap(), vec![set("a", &[&text]), Item::Close]);
    }
}
