//! Every test vector of `docs/protocol.md`, read from that page.

mod conversation;
mod credit;
mod document;
mod environment;
#[cfg(any(feature = "json", feature = "message-pack"))]
mod formats;
mod frames;
mod lines;
mod sending;

use document::vectors;

/// The tables that the page may have, and must: `check` of each runs over its vectors in a test of
/// its own.
const TABLES: &[&str] = &[
    "environment",
    "tree",
    "lines",
    "send",
    "frames",
    "conversation",
    "credit",
    "formats",
];

#[test]
fn the_page_has_every_table_and_no_other() {
    for vector in document::all() {
        assert!(
            TABLES.contains(&vector.table.as_str()),
            "unknown table at {vector}"
        );
    }
    for table in TABLES {
        assert!(!vectors(table).is_empty());
    }
}

#[test]
fn names_are_unique_within_a_table() {
    let mut seen = std::collections::HashSet::new();
    for vector in document::all() {
        assert!(
            seen.insert((vector.table.clone(), vector.name().to_owned())),
            "twice: {vector}"
        );
    }
}

#[test]
fn frames_come_out_as_the_page_says() {
    vectors("frames").iter().for_each(frames::check);
}

#[test]
fn lines_come_out_as_the_page_says() {
    vectors("lines").iter().for_each(lines::check);
}

#[test]
fn sending_does_as_the_page_says() {
    vectors("send").iter().for_each(sending::check);
}

#[test]
fn conversations_keep_the_rules() {
    vectors("conversation").iter().for_each(conversation::check);
}

#[test]
fn credit_is_counted_as_the_page_says() {
    vectors("credit").iter().for_each(credit::check);
}

#[test]
fn the_environment_is_read_and_written_as_the_page_says() {
    vectors("environment").iter().for_each(environment::check);
    vectors("tree").iter().for_each(environment::check_tree);
}

#[cfg(any(feature = "json", feature = "message-pack"))]
#[test]
fn formats_read_and_write_as_the_page_says() {
    let checked = vectors("formats")
        .iter()
        .filter(|vector| formats::check(vector))
        .count();
    assert!(checked > 0, "no vector for the features that are on");
}
