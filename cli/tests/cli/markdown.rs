//! Documents that quote the tool's answers: each fenced block is compared with what it should say, or written again.

use crate::run::{directory, updates_golden};
use std::{path::PathBuf, sync::Mutex};

/// Tests may write to the same document.
static WRITING: Mutex<()> = Mutex::new(());

/// A fenced block: the nearest heading above it, language and check behind the fence, its lines.
#[derive(Clone, Debug)]
pub struct Block {
    pub heading: String,
    pub language: String,
    pub check: String,
    pub text: String,
}

/// A file of the repository.
pub fn repository(file: &str) -> PathBuf {
    directory("../..").join(file)
}

/// The fenced blocks of a document.
pub fn blocks(file: &str) -> Vec<Block> {
    let mut all = Vec::new();
    walk(&read(file), |block| {
        all.push(block.clone());
        None
    });
    all
}

/// Fails where a block is not what `expected` makes of it (nothing: not to be compared); `UPDATE_GOLDEN=1` writes them.
pub fn assert_blocks(file: &str, mut expected: impl FnMut(&Block) -> Option<String>) {
    let _writing = WRITING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let text = read(file);
    let mut wrong = Vec::new();
    let rewritten = walk(&text, |block| {
        let answer = expected(block)?;
        if answer != block.text {
            wrong.push(format!("--- {file}, {}\n{}--- now\n{answer}", block.heading, block.text));
        }
        Some(answer)
    });
    if updates_golden() {
        std::fs::write(repository(file), rewritten).expect("the document is written");
    } else {
        assert!(wrong.is_empty(), "run with UPDATE_GOLDEN=1 and review:\n{}", wrong.concat());
    }
}

fn read(file: &str) -> String {
    std::fs::read_to_string(repository(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The text with each block's content replaced where `change` gives another.
fn walk(text: &str, mut change: impl FnMut(&Block) -> Option<String>) -> String {
    let (mut heading, mut rewritten) = (String::new(), String::new());
    let mut lines = text.split_inclusive('\n');
    while let Some(line) = lines.next() {
        rewritten += line;
        if let Some(info) = line.strip_prefix("```") {
            let content: String = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            let (language, check) = info.trim().split_once(' ').unwrap_or((info.trim(), ""));
            let (language, check) = (language.to_owned(), check.to_owned());
            let block = Block { heading: heading.clone(), language, check, text: content };
            rewritten += &change(&block).unwrap_or(block.text);
            rewritten += "```\n";
        } else if line.starts_with('#') {
            line.trim_start_matches('#').trim().clone_into(&mut heading);
        }
    }
    rewritten
}
