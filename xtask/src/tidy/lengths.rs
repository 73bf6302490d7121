//! How long files and functions may be.

use super::{Findings, Source};

/// Above this a file is named.
const LONG_FILE: usize = 500;
/// Above this a file is refused; tests may hold longer tables.
const TOO_LONG_FILE: usize = 700;
const TOO_LONG_TEST_FILE: usize = 900;
/// Above this a function is refused.
const TOO_LONG_FUNCTION: usize = 120;

pub(super) fn check(source: &Source, findings: &mut Findings) {
    let path = source.path.to_string_lossy();
    if !path.ends_with(".rs") {
        return;
    }
    let lines = source.text.lines().count();
    let limit = if is_test(&path) { TOO_LONG_TEST_FILE } else { TOO_LONG_FILE };
    if lines > limit {
        findings.errors.push(format!("{path} has {lines} lines, more than {limit}: split it"));
    } else if lines > LONG_FILE {
        findings.notes.push(format!("{path} has {lines} lines"));
    }
    for function in functions(&source.text) {
        if function.lines > TOO_LONG_FUNCTION {
            findings.errors.push(format!(
                "{path}:{} the function has {} lines, more than {TOO_LONG_FUNCTION}: split it",
                function.line, function.lines
            ));
        }
    }
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

/// A function in formatted code.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    /// Where it begins, from 1.
    line: usize,
    /// How many lines it has.
    lines: usize,
}

/// In code as rustfmt leaves it, a function ends at the first `}` that stands as far in as its head.
fn functions(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let mut functions = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if !is_head(line) {
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
        let closing = lines[index..].iter().position(|line| *line == end);
        if let Some(closing) = closing {
            functions.push(Function { line: index + 1, lines: closing + 1 });
        }
    }
    functions
}

fn is_head(line: &str) -> bool {
    let qualifiers =
        |word: &&str| matches!(*word, "async" | "const" | "unsafe" | "extern" | "\"C\"") || word.starts_with("pub");
    line.split_whitespace().find(|word| !qualifiers(word)) == Some("fn")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: String) -> Source {
        Source { path: path.into(), text }
    }

    fn errors(source: &Source) -> Vec<String> {
        let mut findings = Findings::default();
        check(source, &mut findings);
        findings.errors
    }

    #[test]
    fn a_long_file_is_refused_and_a_test_may_be_longer() {
        let text = "// line\n".repeat(TOO_LONG_FILE + 1);
        assert_eq!(errors(&source("api/src/lib.rs", text.clone())).len(), 1);
        assert_eq!(errors(&source("tests/e2e/main.rs", text)).len(), 0);
        assert_eq!(errors(&source("tests/e2e/main.rs", "// line\n".repeat(TOO_LONG_TEST_FILE + 1))).len(), 1);
    }

    #[test]
    fn functions_are_measured_to_their_closing_brace() {
        let text = "fn a() {\n    b();\n}\n\nimpl X {\n    pub(crate) async fn c(&self) {\n        if d {\n        }\n    }\n}\n";
        assert_eq!(functions(text), [Function { line: 1, lines: 3 }, Function { line: 6, lines: 4 }]);
    }

    #[test]
    fn a_long_function_is_refused() {
        let text = format!("fn long() {{\n{}}}\n", "    step();\n".repeat(TOO_LONG_FUNCTION));
        assert_eq!(errors(&source("api/src/lib.rs", text)).len(), 1);
    }
}
