//! Refuses text whose quotes do not follow RFC 4180. The csv crate guesses what such text may mean;
//! an import must not guess.

use super::input::Problem;

/// Where the scan is within a record.
enum At {
    FieldStart,
    Bare,
    /// Inside quotes that opened on this line.
    Quoted(u64),
    /// Just after a quote inside quotes that opened on this line: the end of the field, or half of an
    /// escaped quote.
    AfterQuote(u64),
}

/// Passes when every quote in `text` opens, closes or is doubled.
pub(super) fn check(text: &str) -> Result<(), Problem> {
    let mut at = At::FieldStart;
    let mut line = 1;
    let mut previous = ' ';
    for c in text.chars() {
        at = match (at, c) {
            (At::FieldStart, '"') => At::Quoted(line),
            (At::Bare, '"') => {
                return Err(Problem::new(
                    line,
                    "quotes only around a whole cell",
                    "a quote inside a cell that does not begin with one",
                ));
            }
            (At::Quoted(opened), '"') => At::AfterQuote(opened),
            (At::Quoted(opened), _) => At::Quoted(opened),
            (At::AfterQuote(opened), '"') => At::Quoted(opened),
            (_, ',' | '\r' | '\n') => At::FieldStart,
            (At::AfterQuote(_), _) => {
                return Err(Problem::new(
                    line,
                    "a comma or the line's end after a closing quote",
                    format!("{c:?}"),
                ));
            }
            (At::FieldStart | At::Bare, _) => At::Bare,
        };
        if c == '\r' || (c == '\n' && previous != '\r') {
            line += 1;
        }
        previous = c;
    }
    match at {
        At::Quoted(opened) => {
            Err(Problem::new(opened, "a closing quote", "the end of the file inside quotes"))
        }
        At::FieldStart | At::Bare | At::AfterQuote(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_that_follow_the_rule_pass() {
        for good in [
            "",
            "a,b\n",
            "\"a\",b",
            "\"a,b\"\r\n\"\"\n",
            "\"say \"\"hi\"\"\"\n",
            "\"two\nlines\",x",
        ] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn broken_quotes_are_refused_with_their_line() {
        for (bad, line) in
            [("a,\"b", 1), ("a\nb\"c\"\n", 2), ("x\r\ny\r\n\"a\"b,c\n", 3), ("a\n\"b\nc\"\"\nd", 2)]
        {
            assert_eq!(check(bad).map_err(|problem| problem.line), Err(line), "{bad:?}");
        }
    }
}
