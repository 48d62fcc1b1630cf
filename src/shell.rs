//! Texts in commands that people are told to type.

/// A text as one word of a POSIX shell, whatever is in it.
pub fn word(text: impl ToString) -> String {
    format!("'{}'", text.to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_quotes() {
        assert_eq!(word("a b"), "'a b'");
        assert_eq!(word("a'; rm -r '"), r"'a'\''; rm -r '\'''");
    }
}
