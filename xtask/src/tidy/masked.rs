//! Rust source with its strings and comments told apart from its code, line by line. Called by `sources`.
//! It never parses: it knows strings, characters, comments and braces, and nothing else of the language.

/// One line.
#[derive(Default, Debug)]
pub(super) struct Line {
    /// The code, with the insides of strings, characters and comments as spaces.
    pub(super) code: String,
    /// The text of a `//` comment, without the slashes; `None` in a doc comment and where there is none.
    pub(super) comment: Option<String>,
    /// Inside an item that is compiled for tests only.
    pub(super) test: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    LineComment { doc: bool },
    BlockComment { depth: usize },
    Text,
    RawText { hashes: usize },
}

/// Tells the lines of a source apart.
pub(super) fn lines(source: &str) -> Vec<Line> {
    let mut scanner =
        Scanner { rest: source.chars().collect(), at: 0, state: State::Code, line: Line::default() };
    let mut lines = Vec::new();
    while let Some(character) = scanner.peek(0) {
        if character == '\n' {
            scanner.at += 1;
            if matches!(scanner.state, State::LineComment { .. }) {
                scanner.state = State::Code;
            }
            lines.push(std::mem::take(&mut scanner.line));
        } else {
            scanner.step(character);
        }
    }
    lines.push(scanner.line);
    mark_tests(&mut lines);
    lines
}

struct Scanner {
    rest: Vec<char>,
    at: usize,
    state: State,
    line: Line,
}

impl Scanner {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.rest.get(self.at + ahead).copied()
    }

    /// Takes `count` characters that are no code.
    fn blank(&mut self, count: usize) {
        self.at += count;
        self.line.code.extend(std::iter::repeat_n(' ', count));
    }

    fn code(&mut self, character: char) {
        self.at += 1;
        self.line.code.push(character);
    }

    fn step(&mut self, character: char) {
        match self.state {
            State::Code => self.step_code(character),
            State::LineComment { doc } => {
                if !doc {
                    self.line.comment.get_or_insert_default().push(character);
                }
                self.blank(1);
            }
            State::BlockComment { depth } => self.step_block(character, depth),
            State::Text => match character {
                // What follows a backslash never ends the text; a line's end is the caller's.
                '\\' if self.peek(1) != Some('\n') => self.blank(2),
                '"' => {
                    self.state = State::Code;
                    self.code('"');
                }
                _ => self.blank(1),
            },
            State::RawText { hashes } => {
                if character == '"' && (1..=hashes).all(|n| self.peek(n) == Some('#')) {
                    self.state = State::Code;
                    self.blank(1 + hashes);
                } else {
                    self.blank(1);
                }
            }
        }
    }

    fn step_block(&mut self, character: char, depth: usize) {
        match (character, self.peek(1)) {
            ('/', Some('*')) => {
                self.state = State::BlockComment { depth: depth + 1 };
                self.blank(2);
            }
            ('*', Some('/')) => {
                self.state = if depth > 1 { State::BlockComment { depth: depth - 1 } } else { State::Code };
                self.blank(2);
            }
            _ => self.blank(1),
        }
    }

    fn step_code(&mut self, character: char) {
        match (character, self.peek(1)) {
            ('/', Some('/')) => {
                let doc = matches!(self.peek(2), Some('/' | '!'));
                self.state = State::LineComment { doc };
                self.blank(2);
                if !doc {
                    self.line.comment = Some(String::new());
                }
            }
            ('/', Some('*')) => {
                self.state = State::BlockComment { depth: 1 };
                self.blank(2);
            }
            ('"', _) => {
                self.state = State::Text;
                self.code('"');
            }
            ('r', Some('"' | '#')) if !self.follows_a_name() => self.step_raw(),
            ('\'', Some('\\')) => {
                // An escaped character: the quote that ends it is the first after the escaped one.
                let end = (3..).find(|&n| self.peek(n).is_none_or(|c| c == '\'' || c == '\n')).unwrap_or(3);
                self.blank(end + 1);
            }
            ('\'', Some(_)) if self.peek(2) == Some('\'') => self.blank(3),
            _ => self.code(character),
        }
    }

    /// At an `r` that may begin a raw text (`r"`, `r#"`) or a raw name (`r#fn`).
    fn step_raw(&mut self) {
        let hashes = (1..).take_while(|&n| self.peek(n) == Some('#')).count();
        if self.peek(1 + hashes) == Some('"') {
            self.state = State::RawText { hashes };
            self.blank(2 + hashes);
        } else {
            self.code('r');
        }
    }

    /// Whether the character before is part of a name: then an `r` goes on with it (but `br"` and `cr"` are raw).
    fn follows_a_name(&self) -> bool {
        let mut before = self.line.code.chars().rev();
        match before.next() {
            Some('b' | 'c') => before.next().is_some_and(is_name),
            Some(character) => is_name(character),
            None => false,
        }
    }
}

pub(super) fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Marks the items under `#[cfg(test)]`: up to their closing brace, or their semicolon where they have no body.
fn mark_tests(lines: &mut [Line]) {
    let mut in_item = false;
    let mut depth = 0_usize;
    for line in lines {
        let squeezed: String = line.code.chars().filter(|c| !c.is_whitespace()).collect();
        if !in_item && (squeezed.contains("#[cfg(test)]") || squeezed.contains("#[cfg(all(test,")) {
            in_item = true;
            depth = 0;
        }
        line.test = in_item;
        if !in_item {
            continue;
        }
        for character in line.code.chars() {
            match character {
                '{' => depth += 1,
                '}' => {
                    depth = depth.saturating_sub(1);
                    in_item = in_item && depth > 0;
                }
                ';' => in_item = in_item && depth > 0,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(source: &str) -> Vec<String> {
        lines(source).into_iter().map(|line| line.code.trim_end().to_owned()).collect()
    }

    #[test]
    fn comments_and_texts_are_no_code() {
        assert_eq!(code("a(); // b();"), ["a();"]);
        assert_eq!(code("a(\"b \\\" // {\"); c"), ["a(\"         \"); c"]);
        assert_eq!(code("a /* b /* c */ d */ e"), ["a                   e"]);
        assert!(!code("a(r#\"b\" {\"#, br\"c\")").concat().contains('{'));
    }

    #[test]
    fn characters_are_told_from_lifetimes() {
        assert_eq!(code("x('\"', '{', '\\'', '\\u{1b}'); y"), ["x(   ,    ,     ,         ); y"]);
        assert_eq!(code("fn f<'a>(x: &'a str) {}"), ["fn f<'a>(x: &'a str) {}"]);
    }

    #[test]
    fn raw_names_are_code() {
        assert_eq!(code("r#fn; for x in y {}"), ["r#fn; for x in y {}"]);
    }

    #[test]
    fn texts_go_over_lines() {
        assert_eq!(code("a(\"b {\\\n c {\") d"), ["a(\"", "    \") d"]);
    }

    #[test]
    fn comments_are_kept_but_doc_comments_not() {
        let lines = lines("/// doc\n//! doc\nx // why\n");
        let comments: Vec<_> = lines.iter().map(|line| line.comment.as_deref()).collect();
        assert_eq!(comments, [None, None, Some(" why"), None]);
    }

    #[test]
    fn test_items_are_marked_to_their_end() {
        let source = "a\n#[cfg(test)]\nuse x;\nb\n#[cfg(test)]\nmod tests {\n  fn f() {}\n}\nc\n";
        let marks: Vec<bool> = lines(source).iter().map(|line| line.test).collect();
        assert_eq!(marks, [false, true, true, false, true, true, true, true, false, false]);
    }
}
