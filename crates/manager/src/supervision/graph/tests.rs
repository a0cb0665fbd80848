//! What is refused, in which words, and the waves of what is not.

use super::random::Random;
use super::*;

fn node(name: &str, needs: &[&str]) -> Node {
    Node::new(name).needs(needs.iter().copied())
}

fn nodes(nodes: &[(&str, &[&str])]) -> Vec<Node> {
    nodes
        .iter()
        .map(|(name, needs)| node(name, needs))
        .collect()
}

/// What is said whatever the order, of the nodes and of what each needs.
fn refusal(mut refused: Vec<Node>) -> String {
    let mut random = Random::new(0x9E37_79B9_7F4A_7C15);
    let said = Graph::new(refused.clone()).unwrap_err().to_string();
    for _ in 0..50 {
        random.shuffle(&mut refused);
        for node in &mut refused {
            random.shuffle(&mut node.needs);
        }
        let again = Graph::new(refused.clone()).unwrap_err().to_string();
        assert_eq!(again, said, "{refused:?}");
    }
    said
}

/// Names and what each needs.
type Needs = [(&'static str, &'static [&'static str])];

#[test]
fn what_is_refused_is_named() {
    let cases: [(&Needs, &str); 12] = [
        (
            &[("web", &["cahce"]), ("cache", &[]), ("case", &[])],
            "`web` needs `cahce`, which does not exist; did you mean `cache`?",
        ),
        (
            &[("web", &["postgres"]), ("db", &[])],
            "`web` needs `postgres`, which does not exist",
        ),
        // Itself is no hint, and of several the first in the alphabet is named.
        (
            &[("web", &["webb"]), ("x", &["y", "b"]), ("z", &["a"])],
            "`web` needs `webb`, which does not exist",
        ),
        (
            &[("x", &["worker-4", "b"]), ("worker-1", &[]), ("d", &[])],
            "`x` needs `b`, which does not exist; did you mean `d`?",
        ),
        (
            &[("a", &[]), ("b", &["a"]), ("a", &["b"])],
            "two processes are named `a`",
        ),
        (
            &[
                ("c", &[]),
                ("b", &[]),
                ("c", &[]),
                ("b", &[]),
                ("a", &["a"]),
            ],
            "two processes are named `b`",
        ),
        (
            &[("db", &[]), ("web", &["db", "web"])],
            "`web` needs itself",
        ),
        (
            &[("b", &["b"]), ("a", &["b", "a"]), ("c", &["nothing"])],
            "`a` needs itself",
        ),
        (
            &[("web", &["db"]), ("db", &["cache"]), ("cache", &["web"])],
            "what is needed goes in a circle: cache -> web -> db -> cache",
        ),
        (
            &[("b", &["a"]), ("a", &["b"])],
            "what is needed goes in a circle: a -> b -> a",
        ),
        // What comes before the cycle (z), and what hangs on it (a), is no part of it.
        (
            &[
                ("a", &["m"]),
                ("m", &["k", "z"]),
                ("k", &["l"]),
                ("l", &["m"]),
                ("z", &[]),
            ],
            "what is needed goes in a circle: k -> l -> m -> k",
        ),
        // Of two cycles, and of two ways around, always the same.
        (
            &[
                ("d", &["e"]),
                ("e", &["d"]),
                ("a", &["c", "b"]),
                ("b", &["a"]),
                ("c", &["a"]),
            ],
            "what is needed goes in a circle: a -> b -> a",
        ),
    ];
    for (refused, said) in cases {
        assert_eq!(refusal(nodes(refused)), said);
    }
}

#[test]
fn an_error_is_an_error() {
    let refused = Graph::new([node("a", &["a"])]).unwrap_err();
    let refused: Box<dyn std::error::Error> = Box::new(refused);
    assert!(refused.source().is_none());
}

#[test]
fn both_directions_and_the_waves() {
    let diamond = nodes(&[
        ("web", &["api", "cache", "api"]),
        ("db", &[]),
        ("api", &["db"]),
        ("cache", &["db"]),
        ("log", &[]),
    ]);
    let graph = Graph::new(diamond).unwrap();
    assert_eq!(graph.len(), 5);
    assert_eq!((graph.index("api"), graph.index("ap")), (Some(2), None));
    assert_eq!((graph.name(2), graph.name(5)), (Some("api"), None));
    assert_eq!(graph.dependencies(0), [2, 3]);
    assert_eq!(graph.dependants(1), [2, 3]);
    assert_eq!(graph.all_dependencies(0), [1, 2, 3]);
    assert_eq!(graph.all_dependants(1), [0, 2, 3]);
    assert_eq!(graph.all_dependants(4), [0; 0]);
    assert_eq!(graph.waves(), [vec![1, 4], vec![2, 3], vec![0]]);
}

#[test]
fn a_node_that_there_is_not_has_nobody() {
    let graph = Graph::new([]).unwrap();
    assert!(graph.len() == 0 && graph.waves().is_empty());
    assert!(graph.dependencies(0).is_empty() && graph.dependants(0).is_empty());
    assert!(graph.all_dependencies(7).is_empty() && graph.all_dependants(7).is_empty());
}

#[test]
fn a_long_chain_needs_no_deep_stack() {
    const LONG: usize = 100_000;
    let chain = (0..LONG).map(|at| match at {
        0 => Node::new("0"),
        _ => Node::new(at.to_string()).needs([(at - 1).to_string()]),
    });
    let mut chain: Vec<Node> = chain.collect();
    let graph = Graph::new(chain.clone()).unwrap();
    assert_eq!(graph.waves().len(), LONG);
    assert_eq!(graph.all_dependants(0).len(), LONG - 1);
    assert_eq!(graph.all_dependencies(LONG - 1).len(), LONG - 1);
    chain[0].needs.push((LONG - 1).to_string());
    let refused = Graph::new(chain).unwrap_err();
    assert!(matches!(refused, GraphError::Cycle { path } if path.len() == LONG));
}

#[test]
fn many_edges_of_one_node_are_no_matter() {
    const MANY: usize = 50_000;
    let leaves = (0..MANY).map(|at| Node::new(format!("leaf-{at}")).needs(["hub"]));
    let names = (0..MANY).map(|at| format!("leaf-{at}"));
    let hub = [Node::new("hub"), Node::new("all").needs(names)];
    let graph = Graph::new(leaves.chain(hub)).unwrap();
    let sizes: Vec<_> = graph.waves().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, MANY, 1]);
}

/// Each node one wave after the last of what it needs, and no graph of edges that go one way is refused.
#[test]
fn random_graphs_have_the_fewest_waves() {
    let mut random = Random::new(0xD1B5_4A32_D192_ED03);
    for _ in 0..300 {
        let count = 1 + random.below(30);
        let graph = random.graph(count);
        let mut wave = vec![0; count];
        for (number, nodes) in graph.waves().iter().enumerate() {
            assert!(nodes.is_sorted());
            for &node in nodes {
                wave[node] = number;
            }
        }
        for (node, &number) in wave.iter().enumerate() {
            let needed = graph.dependencies(node).iter();
            let expected = needed.map(|&needed| wave[needed] + 1).max();
            assert_eq!(number, expected.unwrap_or(0));
            for other in 0..count {
                assert_eq!(
                    graph.all_dependants(node).contains(&other),
                    graph.all_dependencies(other).contains(&node)
                );
            }
        }
    }
}
