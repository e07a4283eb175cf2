//! Of any header: the work is bounded, and no text around a quoted `Cert` can hide it.
#![no_main]

use genesys_mtls_filter::peer::xfcc::{MAX_HEADER, certificates};
use genesys_mtls_fuzz::text::percent_decoded;
use libfuzzer_sys::fuzz_target;

/// As many values as the filter looks at, from the end.
const MAX_VALUES: usize = 16;

fuzz_target!(|data: &[u8]| {
    let found = certificates(data);
    assert!(found.len() <= MAX_VALUES);
    assert!(found.iter().map(Vec::len).sum::<usize>() <= 2 * MAX_HEADER);

    // The same text around a value: two numbers say where it is cut.
    let [first, second, text @ ..] = data else { return };
    let (before, rest) = text.split_at(usize::from(*first).min(text.len()));
    let (value, after) = rest.split_at(usize::from(*second).min(rest.len()));
    let keys = after.windows(4).filter(|window| window.eq_ignore_ascii_case(b"cert")).count();
    if value.contains(&b'"') || keys >= MAX_VALUES || data.len() > 4096 {
        return;
    }
    // Keys inside the value are candidates, too, and stand behind it.
    let inside = value.windows(4).filter(|window| window.eq_ignore_ascii_case(b"cert")).count();
    if inside + keys >= MAX_VALUES {
        return;
    }
    let header = [before, b";Cert=\"", value, b"\"", after].concat();
    assert!(
        certificates(&header).contains(&percent_decoded(value)),
        "{:?}",
        String::from_utf8_lossy(&header)
    );
});
