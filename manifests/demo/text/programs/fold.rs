//! Fold white space: every run of it becomes one space, and none is left at the ends.

use std::io::{self, BufRead, Write};

/// `"  one\t two\n"` becomes `"one two"`.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !folded.is_empty() {
            folded.push(' ');
        }
        folded.push_str(word);
    }
    folded
}

fn main() -> io::Result<()> {
    let stdin = io::stdin();
    let mut out = io::BufWriter::new(io::stdout().lock());
    for line in stdin.lock().lines() {
        writeln!(out, "{}", fold(&line?))?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn runs_become_one_space() {
        assert_eq!(fold("to  be\n\tor not"), "to be or not");
    }

    #[test]
    fn a_no_break_space_is_white_space_too() {
        assert_eq!(fold("10\u{a0}000"), "10 000");
    }

    #[test]
    fn nothing_comes_of_nothing() {
        assert_eq!(fold(" \n "), "");
    }
}
