//! Tests of the pool: workers join in, panics travel, nothing hangs.

use super::*;

#[test]
fn every_share_runs_once() {
    for threads in [1, 2, 3, 7] {
        let pool = Pool::new(threads);
        let calls: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
        pool.run(&|idx, n_shares| {
            assert_eq!(n_shares, threads);
            calls[idx].fetch_add(1, Ordering::Relaxed);
        });
        assert!(calls.iter().all(|c| c.load(Ordering::Relaxed) == 1));
    }
}

#[test]
fn workers_do_join_in() {
    let pool = Pool::new(2);
    let (me, helped) = (std::thread::current().id(), AtomicBool::new(false));
    let deadline = Instant::now() + Duration::from_secs(20);
    pool.join_in(&|| {
        if std::thread::current().id() != me {
            helped.store(true, Ordering::Relaxed);
        }
        while !helped.load(Ordering::Relaxed) && Instant::now() < deadline {
            std::thread::yield_now();
        }
    });
    assert!(helped.into_inner(), "the worker never came");
}

#[test]
fn a_worker_inside_is_waited_for_even_past_the_spin() {
    let pool = Pool::new(2);
    let me = std::thread::current().id();
    let (came, done) = (AtomicBool::new(false), AtomicBool::new(false));
    pool.join_in(&|| {
        if std::thread::current().id() == me {
            while !came.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
        } else {
            came.store(true, Ordering::Relaxed);
            std::thread::sleep(SPIN * 20);
            done.store(true, Ordering::Relaxed);
        }
    });
    assert!(done.into_inner());
}

#[test]
fn thousands_of_jobs_finish_with_and_without_sleep_between() {
    let pool = Pool::new(3);
    let total = AtomicUsize::new(0);
    for round in 0..5000 {
        pool.run(&|_, _| {
            total.fetch_add(1, Ordering::Relaxed);
        });
        if round % 500 == 0 {
            std::thread::sleep(SPIN * 4);
        }
    }
    assert_eq!(total.into_inner(), 15_000);
}

#[test]
fn a_panic_in_any_share_reaches_the_caller_and_the_pool_lives_on() {
    let pool = Pool::new(3);
    for victim in 0..3 {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            pool.run(&|idx, _| assert_ne!(idx, victim, "share {victim} fails"));
        }));
        let message = *caught.unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains("fails"), "{message}");
    }
    let calls = AtomicUsize::new(0);
    pool.run(&|_, _| {
        calls.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(calls.into_inner(), 3);
}

#[test]
fn a_job_inside_a_job_runs_alone_on_its_thread() {
    let pool = Pool::new(2);
    let inner = AtomicUsize::new(0);
    pool.run(&|_, _| {
        pool.run(&|idx, n_shares| {
            assert_eq!((idx, n_shares), (0, 1));
            inner.fetch_add(1, Ordering::Relaxed);
        });
    });
    assert_eq!(inner.into_inner(), 2);
}

#[test]
fn callers_on_several_threads_take_turns() {
    let pool = Pool::new(2);
    let total = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    pool.run(&|_, _| {
                        total.fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
        }
    });
    assert_eq!(total.into_inner(), 4 * 200 * 2);
}

#[test]
fn chunks_cover_every_item_once() {
    let pool = Pool::new(2);
    for n_items in [0, 1, 7, 8, 9, 1000] {
        for min_chunk in [0, 1, 16] {
            let seen: Vec<AtomicUsize> = (0..n_items).map(|_| AtomicUsize::new(0)).collect();
            pool.for_each_chunk(n_items, min_chunk, |range| {
                for i in range {
                    seen[i].fetch_add(1, Ordering::Relaxed);
                }
            });
            assert!(
                seen.iter().all(|s| s.load(Ordering::Relaxed) == 1),
                "{n_items} {min_chunk}"
            );
        }
    }
}

#[test]
fn each_item_is_taken_once_and_alone_nobody_helps() {
    let pool = Pool::new(3);
    let calls: Vec<AtomicUsize> = (0..100).map(|_| AtomicUsize::new(0)).collect();
    pool.for_each(calls.len(), |i| {
        calls[i].fetch_add(1, Ordering::Relaxed);
    });
    assert!(calls.iter().all(|n| n.load(Ordering::Relaxed) == 1));
    let me = std::thread::current().id();
    let order = Mutex::new(Vec::new());
    let before = Pool::alone(|| {
        pool.for_each(5, |i| {
            assert_eq!(std::thread::current().id(), me);
            lock(&order).push(i);
        });
        pool.is_alone()
    });
    assert_eq!((before, pool.is_alone()), (true, false));
    assert_eq!(*lock(&order), [0, 1, 2, 3, 4]);
    let _ = catch_unwind(|| Pool::alone(|| panic!("on purpose")));
    assert!(!pool.is_alone());
}
