//! The tree against a slow model of it: what is shared, who holds it, what goes.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// A block says whose it is and what text it ends: sharing anything else would be seen.
type Told = (u128, Vec<u32>);

const LEN: usize = 2;

fn told(partition: u128, tokens: &[u32], index: usize) -> Told {
    (partition, tokens[..(index + 1) * LEN].to_vec())
}

/// Adds all of a text, as a sequence does that computes it.
fn run(tree: &mut PrefixTree<Told>, partition: u128, tokens: &[u32]) -> (Lease, usize) {
    let (mut lease, found) = tree.lease(partition, tokens);
    let n = found.len();
    tree.extend(&mut lease, tokens, |index| Some(told(partition, tokens, index)));
    (lease, n)
}

#[test]
fn a_text_finds_the_longest_beginning_but_never_its_last_token() {
    let mut tree = PrefixTree::new(LEN, 100);
    let (lease, found) = run(&mut tree, 1, &[1, 2, 3, 4, 5, 6]);
    assert_eq!((lease.n_blocks(), found), (3, 0));
    for (text, n) in [
        (&[1, 2, 3, 4, 5, 6, 7][..], 3),
        (&[1, 2, 3, 4, 5, 6], 2),
        (&[1, 2, 3, 4, 9, 9, 9], 2),
        (&[1, 2, 3], 1),
        (&[1, 2], 0),
        (&[2, 1, 3], 0),
        (&[], 0),
    ] {
        let (other, found) = tree.lease(1, text);
        assert_eq!(found.len(), n, "{text:?}");
        tree.release(other);
    }
    tree.release(lease);
}

#[test]
fn partitions_do_not_share_equal_texts() {
    let mut tree = PrefixTree::new(LEN, 100);
    let (a, _) = run(&mut tree, 1, &[1, 2, 3, 4, 5]);
    let (b, found) = run(&mut tree, 2, &[1, 2, 3, 4, 5]);
    assert_eq!((found, tree.n_blocks()), (0, 4));
    tree.release(a);
    tree.release(b);
}

#[test]
fn blocks_of_running_sequences_take_the_room_of_what_nobody_holds() {
    let mut tree = PrefixTree::new(LEN, 6);
    let (held, _) = run(&mut tree, 1, &[1, 2, 3, 4]);
    let (idle, _) = run(&mut tree, 1, &[5, 6, 7, 8, 9, 9]);
    tree.release(idle);
    assert_eq!(tree.n_blocks(), 5);
    tree.reserve(2);
    assert_eq!(tree.n_blocks(), 4);
    tree.reserve(100);
    assert_eq!(tree.n_blocks(), 2, "what is held stays");
    // Nothing new is kept while there is no room.
    let (other, _) = run(&mut tree, 1, &[7, 7, 7, 7]);
    assert_eq!((other.n_blocks(), tree.n_blocks()), (0, 2));
    tree.reserve(0);
    tree.release(other);
    tree.release(held);
    let (_, found) = tree.lease(1, &[1, 2, 3, 4, 5]);
    assert_eq!(found.len(), 2);
}

#[test]
fn a_block_that_two_have_computed_is_a_copy_and_one_taken_over_is_none() {
    let mut tree = PrefixTree::new(LEN, 100);
    let text = [1, 2, 3, 4, 5, 6, 7];
    // All three begin together.
    let [mut first, mut second, mut third] = [(); 3].map(|()| tree.lease(1, &text).0);
    let mut add = |lease: &mut Lease, n| tree.extend(lease, &text[..n], |index| Some(told(1, &text, index)));
    add(&mut first, 4);
    add(&mut second, 6);
    add(&mut first, 6);
    assert_eq!((first.n_blocks(), first.n_shared()), (3, 2));
    assert_eq!((second.n_blocks(), second.n_shared()), (3, 1));
    let found = tree.lengthen(&mut third, &text);
    assert_eq!(found, [0, 1, 2].map(|index| told(1, &text, index)));
    assert_eq!((third.n_blocks(), third.n_shared()), (3, 3));
    assert!(tree.lengthen(&mut third, &text).is_empty());
    [first, second, third]
        .into_iter()
        .for_each(|lease| tree.release(lease));
    assert_eq!(tree.n_blocks(), 3);
}

#[test]
fn what_was_used_longest_ago_goes_first_and_ends_before_beginnings() {
    let mut tree = PrefixTree::new(LEN, 4);
    for text in [[1, 2, 3, 4], [5, 6, 7, 8]] {
        let (lease, _) = run(&mut tree, 1, &text);
        tree.release(lease);
    }
    // The first text is used again, so that the end of the second is the oldest.
    let (lease, found) = tree.lease(1, &[1, 2, 3, 4, 0]);
    assert_eq!(found.len(), 2);
    tree.release(lease);
    let (lease, _) = run(&mut tree, 1, &[9, 9]);
    tree.release(lease);
    let found = |tree: &mut PrefixTree<Told>, text: &[u32]| {
        let (lease, found) = tree.lease(1, text);
        tree.release(lease);
        found.len()
    };
    assert_eq!(found(&mut tree, &[5, 6, 7, 8, 0]), 1);
    assert_eq!(found(&mut tree, &[1, 2, 3, 4, 0]), 2);
}

#[test]
fn what_is_held_stays_and_the_new_is_left_out() {
    let mut tree = PrefixTree::new(LEN, 2);
    let (held, _) = run(&mut tree, 1, &[1, 2, 3, 4]);
    let (other, _) = run(&mut tree, 1, &[5, 6, 7, 8]);
    assert_eq!((other.n_blocks(), tree.n_blocks()), (0, 2));
    tree.release(other);
    tree.release(held);
    let (other, _) = run(&mut tree, 1, &[5, 6, 7, 8]);
    assert_eq!(other.n_blocks(), 2);
    tree.release(other);
}

#[test]
fn a_tree_without_room_holds_nothing() {
    let mut tree = PrefixTree::new(LEN, 0);
    let (lease, _) = run(&mut tree, 1, &[1, 2, 3, 4]);
    assert_eq!((lease.n_blocks(), tree.n_blocks()), (0, 0));
    tree.release(lease);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn leases_keep_their_blocks_and_nothing_crosses_partitions(
        n_max in 0usize..12,
        acts in prop::collection::vec(
            (0u128..3, prop::collection::vec(0u32..3, 0..9), any::<prop::sample::Index>(), any::<bool>()), 1..80),
    ) {
        let mut tree = PrefixTree::new(LEN, n_max);
        let mut held: Vec<(u128, Vec<u32>, Lease)> = Vec::new();
        for (partition, text, pick, is_release) in acts {
            if is_release && !held.is_empty() {
                let (_, _, lease) = held.remove(pick.index(held.len()));
                tree.release(lease);
            } else {
                let (mut lease, found) = tree.lease(partition, &text);
                prop_assert!(found.len() * LEN < text.len().max(1));
                for (index, block) in found.iter().enumerate() {
                    prop_assert_eq!(block, &told(partition, &text, index));
                }
                tree.extend(&mut lease, &text, |index| Some(told(partition, &text, index)));
                held.push((partition, text, lease));
            }
            prop_assert!(tree.n_blocks() <= n_max);
            check_counts(&tree, &held)?;
        }
        for (_, _, lease) in held.drain(..) {
            tree.release(lease);
        }
        check_counts(&tree, &held)?;
        // With nothing held, everything can go.
        let all = tree.n_blocks();
        for left in (0..all).rev() {
            tree.n_blocks_max = tree.n_blocks;
            prop_assert!(tree.make_room());
            prop_assert_eq!(tree.n_blocks(), left);
        }
        prop_assert!(tree.roots.is_empty());
    }
}

/// Every held block is there and says what it should; counts and the order of eviction are what they must be.
fn check_counts(tree: &PrefixTree<Told>, held: &[(u128, Vec<u32>, Lease)]) -> Result<(), TestCaseError> {
    let mut n_leases: HashMap<NodeId, usize> = HashMap::new();
    for (partition, text, lease) in held {
        for (index, id) in lease.path.iter().enumerate() {
            let node = tree.nodes[*id].as_ref();
            prop_assert_eq!(node.map(|node| &node.block), Some(&told(*partition, text, index)));
            *n_leases.entry(*id).or_default() += 1;
        }
    }
    let mut n_blocks = 0;
    for (id, node) in tree.nodes.iter().enumerate() {
        let Some(node) = node else {
            prop_assert!(tree.free.contains(&id));
            continue;
        };
        n_blocks += 1;
        prop_assert_eq!(node.n_leases, n_leases.get(&id).copied().unwrap_or(0));
        let is_idle = node.n_leases == 0 && node.children.is_empty();
        prop_assert_eq!(tree.idle.contains(&(node.last_used, id)), is_idle);
    }
    prop_assert_eq!(n_blocks, tree.n_blocks());
    prop_assert_eq!(
        tree.idle.len(),
        tree.idle
            .iter()
            .filter(|(_, id)| tree.nodes[*id].is_some())
            .count()
    );
    Ok(())
}
