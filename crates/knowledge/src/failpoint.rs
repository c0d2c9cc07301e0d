//! Places where a test ends this process without a word, as a power cut would: one table, so that a new place is tested
//! as soon as it stands here.
//!
//! In the program that ships they do nothing.

macro_rules! fail_points {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A place between two steps of which one without the other must do no harm.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum FailPoint { $($(#[$doc])* $name,)* }

        #[cfg(test)]
        impl FailPoint {
            /// Every one of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

fail_points! {
    /// An older database was copied, its layout not yet changed.
    LayoutBackedUp,
    /// The tables are made or changed; the transaction is still open.
    LayoutReady,
    /// The files to read are queued.
    FilesQueued,
    /// An upload is queued, and not yet kept.
    UploadQueued,
    /// An upload is kept.
    UploadKept,
    /// A file that arrived is recorded, and not yet in its place.
    IntakeRecorded,
    /// A file that arrived is in its place: it is accepted.
    IntakePlaced,
    /// An accepted file is taken in and forgotten.
    IntakeForgotten,
    /// A document has followed its file to another place.
    DocumentMoved,
    /// A file that cannot be read is off the queue.
    FileDequeued,
    /// A file whose bytes are the stored ones is off the queue.
    FileTouched,
    /// A document is in the catalog.
    DocumentCommitted,
    /// A document has other readers in the catalog.
    AudienceCommitted,
    /// Documents are gone from the catalog.
    DocumentsErased,
    /// A document is with the index writer.
    IndexAdded,
    /// The index writer has committed.
    IndexCommitted,
    /// The catalog knows that the index is up to date.
    MarksCleared,
    /// A new index is complete, beside the old one.
    IndexFilled,
    /// The old index is gone, the new one not in its place.
    IndexRemoved,
    /// The new index is in place.
    IndexSwapped,
    /// A new index is begun beside the present one; nothing of it is made.
    ReindexBegun,
    /// Some documents are cut for a new index.
    NextPassagesWritten,
    /// The word index that is being made has committed.
    NextIndexCommitted,
    /// Some vectors are made for a new index.
    NextVectorsWritten,
    /// A new index is complete, the old one still answers.
    ReindexReady,
    /// A new index answers; the old one is still there.
    ReindexSwapped,
    /// Some of an old index is cleared away.
    LeftoversCleared,
    /// A backup's files are copied, its list not written.
    BackupCopied,
    /// A backup is whole, under another name.
    BackupListed,
    /// A backup is in place.
    BackupRenamed,
    /// A store is copied out of a backup, under another name.
    RestoreCopied,
    /// The empty data directory is gone, the restored one not in its place.
    RestoreCleared,
    /// A restored store is in place.
    RestoreRenamed,
}

#[cfg(not(test))]
pub(crate) fn pass(_: FailPoint) {}

#[cfg(test)]
pub(crate) use armed::pass;

#[cfg(test)]
pub(crate) mod armed {
    use std::env;
    use std::process::Command;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::FailPoint;

    /// `NAME:N`: this process is killed when it passes by the place of that name for the N-th time.
    pub(crate) const VARIABLE: &str = "HANOK_TEST_FAIL_AT";

    static PASSED: AtomicUsize = AtomicUsize::new(0);

    fn armed() -> Option<&'static (String, usize)> {
        static ARMED: OnceLock<Option<(String, usize)>> = OnceLock::new();
        ARMED
            .get_or_init(|| {
                let text = env::var_os(VARIABLE)?.into_string().ok()?;
                let (name, nth) = text.split_once(':')?;
                Some((name.to_owned(), nth.parse().ok()?))
            })
            .as_ref()
    }

    pub(crate) fn pass(point: FailPoint) {
        let Some((name, nth)) = armed() else { return };
        if *name == format!("{point:?}") && PASSED.fetch_add(1, Relaxed) + 1 == *nth {
            let id = std::process::id().to_string();
            let _ = Command::new("kill").args(["-KILL", &id]).status();
            unreachable!("the signal cannot be ignored");
        }
    }
}
