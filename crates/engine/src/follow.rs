//! Who waits for whom: of prompts of one partition that begin alike and come together, one is computed, and the others
//! go on from what it has computed.
//!
//! A sequence waits only before its first step, and only for one that runs longer than itself: so nobody waits in a
//! circle, and whoever runs longest for nobody. The wait ends with the part in common, or with the other one.

use model::KV_BLOCK;

use crate::scheduler::SequenceId;
use crate::sequence::Sequence;

/// Blocks that are worth a wait; fewer are computed again.
const N_BLOCKS_MIN: usize = 2;

/// Whom a sequence waits for, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leader {
    id: SequenceId,
    /// Blocks of its prompt that the other one's begins with, too.
    n_blocks: usize,
}

impl Leader {
    /// Whether there is still something to wait for.
    pub(crate) fn is_ahead(&self, running: &[Sequence]) -> bool {
        let leader = running.iter().find(|sequence| sequence.id == self.id);
        leader.is_some_and(|leader| leader.n_blocks() < self.n_blocks)
    }
}

/// For whom the sequence at `place` had better wait, as far as it has computed nothing.
pub(crate) fn leader(running: &[Sequence], place: usize) -> Option<Leader> {
    let own = &running[place];
    let leaders =
        alike(own, &running[..place]).map(|(other, n_blocks)| (other.n_blocks(), other.id, n_blocks));
    // Of those with as much in common, the one that runs longest: the last that a search from behind finds.
    let ahead = leaders.rev().filter(|(n_now, _, n_blocks)| n_now < n_blocks);
    let (_, id, n_blocks) = ahead.max_by_key(|(_, _, n_blocks)| *n_blocks)?;
    (n_blocks >= own.n_blocks() + N_BLOCKS_MIN).then_some(Leader { id, n_blocks })
}

/// The sequence that has most of what the one at `place` lacks of its prompt, and how many of its blocks are of use.
pub(crate) fn source(running: &[Sequence], place: usize) -> Option<(&Sequence, usize)> {
    let own = &running[place];
    let usable = alike(own, running).map(|(other, n_blocks)| (other, n_blocks.min(other.n_blocks())));
    let best = usable.max_by_key(|(_, n_blocks)| *n_blocks)?;
    (best.1 > own.n_blocks()).then_some(best)
}

/// The others of a sequence's partition, each with the full blocks that both prompts begin with. The last token is
/// always computed.
fn alike<'a>(
    own: &'a Sequence,
    running: &'a [Sequence],
) -> impl DoubleEndedIterator<Item = (&'a Sequence, usize)> {
    let partition = own.lease.partition();
    let others = running
        .iter()
        .filter(move |other| other.id != own.id && other.lease.partition() == partition);
    others.map(|other| {
        let most = &own.prompt[..own.prompt.len().saturating_sub(1)];
        let n_alike = most.iter().zip(&other.prompt).take_while(|(a, b)| a == b).count();
        (other, n_alike / KV_BLOCK)
    })
}
