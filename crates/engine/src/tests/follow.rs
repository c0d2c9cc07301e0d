//! Prompts that begin alike and come together: the worker step by step, so that who is how far is no accident.

use std::collections::BTreeSet;
use std::sync::mpsc::SyncSender;

use model::{KV_BLOCK, KvBlock};

use super::*;

const CHUNK: usize = 64;

/// A worker that runs only when it is told to.
struct House {
    model: Arc<Model>,
    queue: SyncSender<Submission>,
    counters: Arc<Counters>,
    worker: Worker,
    places: Places,
}

impl House {
    fn new(prefix_cache_bytes: Option<usize>) -> Self {
        let config = EngineConfig {
            prefix_cache_bytes,
            ..EngineConfig::default()
        };
        Self::with(tiny_model(), config)
    }

    fn with(model: Arc<Model>, config: EngineConfig) -> Self {
        let (queue, inbox) = mpsc::sync_channel(8);
        let config = EngineConfig {
            prefill_chunk_tokens: CHUNK,
            prompt_lookup: false,
            ..config
        };
        let counters = Arc::<Counters>::default();
        let clock: Clock = Box::new(|| 0.0);
        let worker = Worker::new(Arc::clone(&model), &config, inbox, Arc::clone(&counters), clock);
        Self {
            model,
            queue,
            counters,
            worker,
            places: Places::new(64),
        }
    }

    fn submit(&self, request: Request) -> Generation {
        let cancelled = Arc::new(AtomicBool::new(false));
        let (events, receiver) = mpsc::channel();
        let submission = Submission {
            request,
            guide: None,
            events,
            cancelled: Arc::clone(&cancelled),
            place: self.places.take(0).unwrap(),
        };
        self.queue.try_send(submission).unwrap();
        Generation { receiver, cancelled }
    }

    fn steps(&mut self, n: usize) {
        for _ in 0..n {
            assert!(self.worker.turn());
        }
    }

    /// Prompt tokens computed so far.
    fn n_computed(&self) -> u64 {
        self.counters.prompt_tokens_total.load(Ordering::Acquire)
    }

    /// Runs to the end of a generation, which says what it would alone; tokens of its prompt it found.
    fn finish(&mut self, generation: &mut Generation, prompt: &[u32], n: usize) -> usize {
        let mut events = Vec::new();
        while !matches!(events.last(), Some(Event::Done { .. })) {
            match generation.next_timeout(Duration::ZERO) {
                Next::Event(event) => events.push(event),
                Next::Waiting => self.steps(1),
                Next::Ended => panic!("{events:?}"),
            }
        }
        assert_eq!(ids(&events), expected(&self.model, prompt, n));
        cached(&events)
    }
}

fn text(n: usize, of: u32) -> Vec<u32> {
    (0..n as u32).map(|i| i * of % 500).collect()
}

fn joined(beginning: &[u32], end: &[u32]) -> Vec<u32> {
    [beginning, end].concat()
}

#[test]
fn equal_prompts_that_come_together_are_computed_once() {
    // Also where nothing is kept after a sequence.
    for bytes in [None, Some(0)] {
        let mut house = House::new(bytes);
        let prompt = text(300, 7);
        let mut all = [(); 4].map(|()| house.submit(request(&prompt, 5)));
        let found = all.each_mut().map(|one| house.finish(one, &prompt, 5));
        assert_eq!(found, [0, 256, 256, 256], "{bytes:?}");
        assert_eq!(house.n_computed(), 300 + 3 * 44, "{bytes:?}");
        // Another partition's prompt is not waited for.
        let mut other = house.submit(Request {
            owner: of(1),
            ..request(&prompt, 5)
        });
        assert_eq!(house.finish(&mut other, &prompt, 5), 0);
    }
}

#[test]
fn a_beginning_in_common_is_waited_for_and_no_longer_than_that() {
    let mut house = House::new(None);
    let common = text(200, 3);
    let (first, second) = (joined(&common, &text(300, 11)), joined(&common, &[9; 10]));
    let mut long = house.submit(request(&first, 2));
    let mut short = house.submit(request(&second, 2));
    assert_eq!(house.finish(&mut short, &second, 2), 192);
    assert!(house.n_computed() < 500, "the long one is not through yet");
    assert_eq!(house.finish(&mut long, &first, 2), 0);
    assert_eq!(house.n_computed(), 500 + 18);
}

#[test]
fn whoever_waits_goes_on_alone_where_the_other_one_stops() {
    let prompt = text(400, 7);
    let mut house = House::new(None);
    let first = house.submit(request(&prompt, 5));
    let mut others = [(); 2].map(|()| house.submit(request(&prompt, 5)));
    house.steps(2);
    assert_eq!(house.n_computed(), 128);
    // It is cancelled; the second goes on from there and the third waits for that one.
    drop(first);
    let found = others.each_mut().map(|one| house.finish(one, &prompt, 5));
    assert_eq!(found, [128, 384]);
    assert_eq!(house.n_computed(), 400 + 16);
    // It fails at its end, and has computed what comes before that.
    let common = text(256, 13);
    let (bad, good) = (joined(&common, &[1_000_000]), joined(&common, &[4, 5, 6]));
    let bad = house.submit(request(&bad, 5));
    let mut good_one = house.submit(request(&good, 5));
    assert_eq!(house.finish(&mut good_one, &good, 5), 256);
    assert!(matches!(&bad.collect::<Vec<_>>()[..], [Event::Failed { .. }]));
}

#[test]
fn a_short_beginning_in_common_delays_nobody() {
    let mut house = House::new(None);
    let common = text(100, 7);
    let prompts = [1, 2].map(|end| joined(&common, &[end; 60]));
    let mut all = prompts.each_ref().map(|prompt| house.submit(request(prompt, 3)));
    // By turns, not one after the other.
    house.steps(4);
    assert_eq!(house.n_computed(), 256);
    let found = [0, 1].map(|i| house.finish(&mut all[i], &prompts[i], 3));
    assert_eq!(found, [0, 0]);
}

#[test]
fn blocks_that_two_have_computed_take_memory_twice() {
    let mut house = House::new(None);
    let prompt = text(70, 7);
    let mut all = [(); 2].map(|()| house.submit(request(&prompt, 60)));
    house.steps(20);
    let running = &house.worker.running;
    let blocks = running
        .iter()
        .map(|sequence| (sequence.n_blocks(), sequence.lease.n_shared()));
    assert_eq!(blocks.collect::<Vec<_>>(), [(1, 1), (1, 0)]);
    for one in &mut all {
        assert_eq!(house.finish(one, &prompt, 60), 0);
    }
}

/// Blocks that take memory: those in the tree and those of running sequences, each once, and those being filled.
fn n_blocks_in_memory(worker: &Worker) -> usize {
    let place = |block: &KvBlock| block.bytes().as_ptr() as usize;
    let mut places: BTreeSet<usize> = worker.prefixes.blocks().map(place).collect();
    let mut n_begun = 0;
    for sequence in &worker.running {
        let own = (0..sequence.n_blocks()).map(|index| sequence.cache.full_block(index).unwrap());
        places.extend(own.map(|block| place(&block)));
        n_begun += usize::from(!sequence.cache.len().is_multiple_of(KV_BLOCK));
    }
    places.len() + n_begun
}

#[test]
fn what_is_kept_leaves_room_for_copies_too() {
    let n_max = 12;
    let bytes = tiny_model().new_cache().block_bytes() * n_max;
    let mut house = House::new(Some(bytes));
    let mut most = 0;
    for of in 1..5 {
        // Too little in common to be waited for, and then four times the same answer: three blocks each.
        let prompt = text(100, of);
        let mut all = [(); 4].map(|()| house.submit(request(&prompt, 40)));
        for one in &mut all {
            loop {
                match one.next_timeout(Duration::ZERO) {
                    Next::Event(Event::Done { .. }) => break,
                    Next::Event(_) => continue,
                    _ => house.steps(1),
                }
                let n = n_blocks_in_memory(&house.worker);
                assert!(n <= n_max, "{n} blocks");
                most = most.max(n);
            }
        }
    }
    assert_eq!(most, n_max);
}

#[test]
fn what_the_first_one_reads_from_the_disk_the_others_do_not_read_again() {
    let (folder, model) = (tempfile::tempdir().unwrap(), tiny_model());
    let prompt = text(300, 7);
    for n_on_disk in [0, 256] {
        // The one before has written all when it is gone.
        let config = EngineConfig {
            spill: Some(SpillConfig {
                folder: folder.path().to_owned(),
                bytes_max: 1 << 30,
            }),
            ..EngineConfig::default()
        };
        let mut house = House::with(Arc::clone(&model), config);
        let mut all = [(); 3].map(|()| house.submit(request(&prompt, 3)));
        let found = all.each_mut().map(|one| house.finish(one, &prompt, 3));
        assert_eq!(found, [n_on_disk, 256, 256]);
        assert_eq!(house.n_computed(), 3 * 44 + 256 - n_on_disk as u64);
    }
}
