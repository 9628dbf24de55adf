//! The rules about the text of Rust files. Called by `tidy`.
//! They look at code with strings and comments masked, and never at its meaning.

use anyhow::Result;

use super::Tree;
use super::files::File;
use super::masked::{self, Line, is_name};

/// Lines of a file without those of its tests.
const LINES_MAX: usize = 400;
/// Macros that mark what is not finished.
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Each file opens with what it is, who calls it, and what it never does.
pub(super) fn opens_with_doc(tree: &Tree) -> Result<Vec<String>> {
    let lacks_doc = |file: &&File| !file.text.starts_with("//! ");
    let found =
        rust(tree).filter(lacks_doc).map(|file| format!("{}: expected a `//!` line first", file.path));
    Ok(found.collect())
}

/// A file that is too long is two files.
pub(super) fn length(tree: &Tree) -> Result<Vec<String>> {
    let found = rust(tree).filter(|file| !file.is_test()).filter_map(|file| {
        let count = masked::lines(file.text.trim_end()).iter().filter(|line| !line.test).count();
        (count > LINES_MAX)
            .then(|| format!("{}: {count} lines without tests, at most {LINES_MAX}", file.path))
    });
    Ok(found.collect())
}

/// No `todo!` and the like, nor in tests.
pub(super) fn unfinished(tree: &Tree) -> Result<Vec<String>> {
    Ok(each_line(tree, |line| {
        let mut names = names(&line.code);
        names.any(|(name, rest)| UNFINISHED.contains(&name) && rest.starts_with('!'))
    }))
}

/// Comments say why; old code is in git.
pub(super) fn commented_out(tree: &Tree) -> Result<Vec<String>> {
    Ok(each_line(tree, |line| line.comment.as_deref().is_some_and(looks_like_code)))
}

/// A lint that is allowed and a test that is ignored say why on the same line, or as `reason = "..."`.
pub(super) fn reasons(tree: &Tree) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for file in rust(tree) {
        let lines = masked::lines(&file.text);
        for (index, line) in lines.iter().enumerate() {
            if is_exception(&line.code) && !has_reason(lines.get(index..).unwrap_or_default()) {
                found.push(format!("{}:{}: expected a reason: {}", file.path, index + 1, line.code.trim()));
            }
        }
    }
    Ok(found)
}

/// No channel without a bound, whatever its crate calls it. A range's end (`Bound::Unbounded`) is no channel.
pub(super) fn queues(tree: &Tree) -> Result<Vec<String>> {
    Ok(each_line(tree, |line| names(&line.code).any(|(name, _)| is_channel_without_bound(name))))
}

fn is_channel_without_bound(name: &str) -> bool {
    let rest = name
        .strip_prefix("unbounded")
        .or_else(|| name.strip_prefix("Unbounded").filter(|rest| !rest.is_empty()));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(|c: char| c == '_' || c.is_ascii_uppercase()))
}

fn rust(tree: &Tree) -> impl Iterator<Item = &File> {
    tree.files.iter().filter(|file| file.is_rust())
}

fn each_line(tree: &Tree, is_wrong: impl Fn(&Line) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for file in rust(tree) {
        let lines = masked::lines(&file.text);
        for ((number, line), text) in (1..).zip(&lines).zip(file.text.lines()) {
            if is_wrong(line) {
                found.push(format!("{}:{number}: {}", file.path, text.trim()));
            }
        }
    }
    found
}

/// The names in a line of code, each with what follows it.
fn names(code: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = code;
    std::iter::from_fn(move || {
        let start = rest.find(is_name)?;
        let from = rest.get(start..)?;
        let end = from.find(|c: char| !is_name(c)).unwrap_or(from.len());
        let (name, after) = from.split_at(end);
        rest = after;
        Some((name, after))
    })
}

fn is_exception(code: &str) -> bool {
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    ["#[allow(", "#![allow(", "#[expect(", "#![expect(", "#[ignore"].iter().any(|start| code.contains(start))
}

/// The attribute that begins in the first line: a comment beside it, or a reason or text within its brackets.
fn has_reason(lines: &[Line]) -> bool {
    let mut depth = 0_usize;
    for line in lines {
        if line.comment.as_deref().is_some_and(|comment| !comment.trim().is_empty()) {
            return true;
        }
        if names(&line.code)
            .any(|(name, rest)| matches!(name, "reason" | "ignore") && rest.trim_start().starts_with('='))
        {
            return true;
        }
        depth += line.code.matches('[').count();
        depth = depth.saturating_sub(line.code.matches(']').count());
        if depth == 0 {
            return false;
        }
    }
    false
}

/// Ends like a statement or a block *and* begins like one: prose rarely does both.
fn looks_like_code(comment: &str) -> bool {
    const STATEMENTS: [&str; 8] = ["let ", "pub ", "use ", "mod ", "return", "self.", "break", "continue"];
    const BLOCKS: [&str; 8] = ["pub ", "fn ", "impl ", "mod ", "if ", "for ", "while ", "match "];
    let text = comment.trim();
    let starts_with = |starts: &[&str]| starts.iter().any(|start| text.starts_with(start));
    matches!(text, "{" | "}" | "};" | "});")
        || text.starts_with("#[")
        || text.ends_with(';') && (starts_with(&STATEMENTS) || starts_with_call(text))
        || text.ends_with('{') && starts_with(&BLOCKS)
}

/// `name(`, `path::name(`, `value.name(` or `name!(`, with no space before the bracket.
fn starts_with_call(text: &str) -> bool {
    let end = text.find(|c: char| !(is_name(c) || matches!(c, ':' | '.' | '!'))).unwrap_or(text.len());
    let (path, rest) = text.split_at(end);
    path.starts_with(|c: char| c.is_ascii_lowercase()) && rest.starts_with('(')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(path: &str, text: &str) -> Tree {
        let files = vec![File { path: path.to_owned(), text: text.to_owned() }];
        Tree { metadata: serde_json::Value::Null, files, deny: toml::Table::new() }
    }

    fn source(text: &str) -> Tree {
        tree("crates/x/src/lib.rs", text)
    }

    #[test]
    fn files_open_with_a_doc_line() {
        assert!(opens_with_doc(&source("//! What it is.\n")).unwrap().is_empty());
        assert_eq!(opens_with_doc(&source("use x;\n")).unwrap().len(), 1);
        assert!(opens_with_doc(&tree("README.md", "# x\n")).unwrap().is_empty());
    }

    #[test]
    fn tests_do_not_count_as_length() {
        let long = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "x();\n".repeat(400), "y();\n".repeat(50));
        assert!(length(&source(&long)).unwrap().is_empty());
        let longer = format!("z();\n{long}");
        assert_eq!(length(&source(&longer)).unwrap().len(), 1);
        assert!(length(&tree("tests/long.rs", &longer)).unwrap().is_empty());
    }

    #[test]
    fn unfinished_code_is_found_but_not_in_texts() {
        for name in UNFINISHED {
            assert_eq!(unfinished(&source(&format!("x({name}!());\n"))).unwrap().len(), 1);
            assert!(unfinished(&source(&format!("x(\"{name}!()\"); // {name}!()\n"))).unwrap().is_empty());
        }
    }

    #[test]
    fn code_in_comments_is_found_but_prose_is_not() {
        for code in ["let x = 1;", "foo.bar(x);", "}", "if x {", "assert_eq!(a, b);", "#[test]", "use a::b;"]
        {
            assert_eq!(commented_out(&source(&format!("// {code}\n"))).unwrap().len(), 1, "{code}");
        }
        for prose in
            ["for each one;", "A client (see below);", "use of it is rare.", "the rest is `x();`", "match it"]
        {
            assert!(commented_out(&source(&format!("// {prose}\n"))).unwrap().is_empty(), "{prose}");
        }
    }

    #[test]
    fn exceptions_need_a_reason() {
        assert_eq!(reasons(&source("#[allow(dead_code)]\nfn f() {}\n")).unwrap().len(), 1);
        assert_eq!(reasons(&source("#[ignore]\nfn f() {}\n")).unwrap().len(), 1);
        for good in [
            "#[allow(dead_code)] // the fields are its documentation\n",
            "#[expect(\n    dead_code,\n    reason = \"why\",\n)]\n",
            "#[ignore = \"needs a day\"]\n",
        ] {
            assert!(reasons(&source(good)).unwrap().is_empty(), "{good}");
        }
    }

    #[test]
    fn queues_without_a_bound_are_found() {
        let channel = ["un", "bounded_channel"].concat();
        assert_eq!(queues(&source(&format!("mpsc::{channel}();\n"))).unwrap().len(), 1);
        assert_eq!(queues(&source("struct X(UnboundedSender<u8>);\n")).unwrap().len(), 1);
        assert!(
            queues(&source("// not unbounded\nlet x = (Bound::Unbounded, unboundedness);\n"))
                .unwrap()
                .is_empty()
        );
    }
}
