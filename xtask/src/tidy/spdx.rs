//! Decides whether a licence expression can be met by a list of licences. Called by `licences`.
//! It knows the operators of SPDX expressions, never the licences themselves.

/// Whether some choice that the expression leaves open is made of allowed licences only.
/// `AND` binds tighter than `OR`; `/` is the old way to write `OR`; `WITH` belongs to the licence before it.
pub(super) fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = Words { words: spaced.split_whitespace().collect(), next: 0 };
    let verdict = words.alternatives(allowed);
    verdict == Some(true) && words.peek().is_none()
}

struct Words<'e> {
    words: Vec<&'e str>,
    next: usize,
}

impl<'e> Words<'e> {
    fn peek(&self) -> Option<&'e str> {
        self.words.get(self.next).copied()
    }

    fn take(&mut self) -> Option<&'e str> {
        let word = self.peek();
        self.next += usize::from(word.is_some());
        word
    }

    fn take_if(&mut self, expected: &str) -> bool {
        let is_it = self.peek() == Some(expected);
        self.next += usize::from(is_it);
        is_it
    }

    /// `None`, here and below: this is no licence expression.
    fn alternatives(&mut self, allowed: &[&str]) -> Option<bool> {
        let mut verdict = self.all_of(allowed)?;
        while self.take_if("OR") {
            verdict |= self.all_of(allowed)?;
        }
        Some(verdict)
    }

    fn all_of(&mut self, allowed: &[&str]) -> Option<bool> {
        let mut verdict = self.licence(allowed)?;
        while self.take_if("AND") {
            verdict &= self.licence(allowed)?;
        }
        Some(verdict)
    }

    fn licence(&mut self, allowed: &[&str]) -> Option<bool> {
        if self.take_if("(") {
            let verdict = self.alternatives(allowed)?;
            return self.take_if(")").then_some(verdict);
        }
        let name = self.take().filter(|name| !matches!(*name, ")" | "AND" | "OR" | "WITH"))?;
        if !self.take_if("WITH") {
            return Some(allowed.contains(&name));
        }
        let whole = format!("{name} WITH {}", self.take()?);
        Some(allowed.iter().any(|other| *other == whole))
    }
}

#[cfg(test)]
mod tests {
    use super::is_allowed;

    const ALLOWED: &[&str] = &["MIT", "Apache-2.0", "ISC", "Apache-2.0 WITH LLVM-exception"];

    #[test]
    fn choices_need_one() {
        assert!(is_allowed("MIT", ALLOWED));
        assert!(is_allowed("GPL-3.0 OR MIT", ALLOWED));
        assert!(is_allowed("Unlicense/MIT", ALLOWED));
        assert!(!is_allowed("GPL-3.0 OR AGPL-3.0", ALLOWED));
    }

    #[test]
    fn conjunctions_need_all() {
        assert!(is_allowed("Apache-2.0 AND ISC", ALLOWED));
        assert!(!is_allowed("Apache-2.0 AND GPL-3.0", ALLOWED));
        assert!(!is_allowed("(MIT OR Apache-2.0) AND GPL-3.0", ALLOWED));
        assert!(is_allowed("GPL-3.0 AND ISC OR MIT", ALLOWED));
    }

    #[test]
    fn an_exception_is_part_of_the_name() {
        assert!(is_allowed("Apache-2.0 WITH LLVM-exception OR GPL-3.0", ALLOWED));
        assert!(!is_allowed("MIT WITH LLVM-exception", ALLOWED));
    }

    #[test]
    fn nonsense_is_not_allowed() {
        for expression in ["", "(MIT", "MIT)", "MIT MIT", "OR", "MIT OR (", "MIT WITH"] {
            assert!(!is_allowed(expression, ALLOWED), "{expression}");
        }
    }
}
