//! Findings that an operator knows and accepts: `RULE@PATH`, in which `*` stands for any text.

use super::{finding::Finding, rules::Rule};
use crate::output::{self, Usage};

pub struct Accepted(Vec<(String, String)>);

impl Accepted {
    pub fn read(given: &[String], file: Option<&str>) -> Result<Self, Usage> {
        let text = file.map(output::read_text).transpose()?.unwrap_or_default();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let parse = |line: &str| {
            let (rule, path) =
                line.split_once('@').ok_or_else(|| Usage::new(format!("`{line}` is not RULE@PATH")))?;
            if !Rule::ALL.iter().any(|known| known.code() == rule) {
                return Err(Usage::new(format!("`{rule}` is no rule: `doctor --rules` lists them")));
            }
            Ok((rule.to_owned(), path.to_owned()))
        };
        lines.chain(given.iter().map(String::as_str)).map(parse).collect::<Result<_, _>>().map(Self)
    }

    pub fn covers(&self, finding: &Finding) -> bool {
        self.0.iter().any(|(rule, path)| rule == finding.rule.code() && matches(path, &finding.path))
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(start) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        let Some(at) = left.find(part) else { return false };
        left = left.get(at + part.len()..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_path_is_accepted_in_full_or_by_its_pattern() {
        for (pattern, text, expected) in [
            ("listener a", "listener a", true),
            ("listener a", "listener a, filter b", false),
            ("listener a*", "listener a, filter b", true),
            ("*filter b", "listener a, filter b", true),
            ("listener *, filter *", "listener a, filter b", true),
            ("listener *, filter *", "listener a, route b", false),
            ("*b*b", "b", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
