//! Whether database, word index and vectors say the same; and making them so again.
//!
//! The database is the truth. What is derived from it is made again; what is wrong in itself is said, for only a backup
//! or the documents themselves can mend that.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rusqlite::Connection;
use stdx::fs;
use stdx::hash::sha256_file;

use crate::catalog::{Catalog, bad_vectors, meta};
use crate::checksum::Summed;
use crate::dense::kept;
use crate::embedded::Embedded;
use crate::error::StoreError;
use crate::lexical::Lexical;
use crate::store::Store;
use crate::types::Access;

/// Faults that are listed one by one; more are counted.
const LISTED_MAX: usize = 100;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Documents looked at.
    pub documents: usize,
    /// Passages looked at.
    pub passages: usize,
    /// Vectors looked at.
    pub vectors: usize,
    /// What is wrong in the database itself, one sentence each, at most a hundred.
    pub faults: Vec<String>,
    /// All such faults.
    pub n_faults: usize,
    /// Passages that the word index lacks, has too much, or has for other readers.
    pub index_differs: usize,
    /// Vectors that are damaged.
    pub vectors_bad: usize,
    /// Files of the vectors' graphs that are damaged.
    pub graphs_bad: usize,
    /// Whether the index and the vectors were made right again.
    pub mended: bool,
    /// Documents that were queued to be read again, because what is stored of them is damaged.
    pub requeued: usize,
    /// Damaged rows of what is only remembered, such as files that failed, that were forgotten.
    pub forgotten: usize,
    /// All such rows.
    n_remembered: usize,
    /// Their ids.
    hurt: BTreeSet<String>,
}

impl VerifyReport {
    /// Whether nothing is wrong any more.
    pub fn is_sound(&self) -> bool {
        self.n_faults == self.forgotten && (self.mended || self.is_derived_right())
    }

    /// Whether everything that is made from the documents' texts is as it should be.
    fn is_derived_right(&self) -> bool {
        self.index_differs == 0 && self.vectors_bad == 0 && self.graphs_bad == 0
    }

    fn fault(&mut self, sentence: String) {
        self.n_faults += 1;
        if self.faults.len() < LISTED_MAX {
            self.faults.push(sentence);
        }
    }
}

impl Store {
    /// Compares everything with everything. With `mend`, and open for writing, what is derived is made again.
    ///
    /// # Errors
    /// When the database cannot be read at all, or mending cannot write.
    pub fn verify(&self, mend: bool) -> Result<VerifyReport, StoreError> {
        let _one_at_a_time = crate::store::held(&self.ingesting);
        let embedded = self.embedded(
            "verify",
            "the server checks its pages itself; `pg_amcheck` looks at all of them",
        )?;
        if self.access == Access::Write {
            embedded.finish_index()?;
        }
        let mut report = VerifyReport::default();
        embedded
            .catalog
            .read("verify", |connection| check_database(connection, &mut report))?;
        self.check_uploads(&embedded.catalog, &mut report)?;
        let known = embedded.catalog.read("list the passages", all_passages)?;
        report.passages = known.len();
        report.index_differs = embedded.index_differences(&known);
        let graphs = kept::damaged(&self.dir);
        report.graphs_bad = graphs.len();
        if mend && report.n_remembered > 0 {
            embedded.write(|store, writer| store.catalog.drop_damaged(writer.connect(&store.catalog)?))?;
            report.forgotten = report.n_remembered;
        }
        if mend && !report.hurt.is_empty() {
            let ids: Vec<String> = report.hurt.iter().cloned().collect();
            report.requeued = embedded
                .write(|store, writer| store.catalog.requeue(writer.connect(&store.catalog)?, &ids))?;
        }
        if mend && !report.is_derived_right() {
            embedded.mend(&report, &graphs)?;
            *crate::store::held(&self.embedded_up_to) = (0, 0);
            report.mended = true;
        }
        Ok(report)
    }

    /// The kept files of uploads are those that were taken in, but for one that waits to be read again.
    fn check_uploads(&self, catalog: &Catalog, report: &mut VerifyReport) -> Result<(), StoreError> {
        let waiting = catalog.queue()?;
        for (name, version) in catalog.uploads()? {
            if waiting.iter().any(|entry| entry.path_bytes == name) {
                continue;
            }
            let kept = self.uploads().join(OsStr::from_bytes(&name));
            let shown = String::from_utf8_lossy(&name);
            match sha256_file(&kept) {
                Ok(found) if found.starts_with(&version) => {}
                Ok(_) => report.fault(format!(
                    "the kept file of `{shown}` is not the one that was handed over; its text is right, hand it over again"
                )),
                Err(error) => report.fault(format!(
                    "the kept file of `{shown}` cannot be read ({error}); its text is right, hand it over again"
                )),
            }
        }
        Ok(())
    }
}

impl Embedded {
    /// An index that cannot be read, or only in part, lacks everything.
    fn index_differences(&self, known: &BTreeMap<u64, u32>) -> usize {
        let lexical = self.lexical();
        if lexical.is_in_memory() {
            return known.len().max(1);
        }
        if let Err(reason) = lexical.check() {
            tracing::warn!(reason, "the word index is damaged");
            return known.len().max(1);
        }
        let Ok(indexed) = lexical.contents() else {
            return known.len().max(1);
        };
        let mut seen = BTreeMap::new();
        let mut n = 0;
        for (passage, audience) in indexed {
            // Twice is once too often.
            n += usize::from(seen.insert(passage, audience).is_some());
        }
        let missing = known
            .iter()
            .filter(|(passage, audience)| seen.get(passage) != Some(audience));
        let extra = seen.keys().filter(|passage| !known.contains_key(passage));
        n + missing.count() + extra.count()
    }

    fn mend(&self, report: &VerifyReport, graphs: &[PathBuf]) -> Result<(), StoreError> {
        // A graph is made again by whoever searches next.
        graphs.iter().try_for_each(fs::remove_file)?;
        if !graphs.is_empty() {
            self.forget_dense();
        }
        if report.vectors_bad > 0 {
            self.write(|store, writer| store.catalog.drop_bad_vectors(writer.connect(&store.catalog)?))?;
        }
        if report.index_differs > 0 {
            self.write(|store, writer| {
                writer.finish(&store.catalog);
                let fresh = Lexical::rebuild(&store.lexical_dir()?, &store.catalog, &store.analysis)?;
                store.set_lexical(fresh);
                Ok(())
            })?;
        }
        Ok(())
    }
}

fn check_database(connection: &Connection, report: &mut VerifyReport) -> rusqlite::Result<()> {
    let mut query = connection.prepare("PRAGMA integrity_check(100)")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let line: String = row.get(0)?;
        if line != "ok" {
            report.fault(format!("the database is damaged: {line}"));
        }
    }
    for table in Summed::ALL {
        // Damaged vectors are counted by themselves: they can be made again.
        if table != Summed::Vectors {
            check_sums(connection, table, report)?;
        }
    }
    check_counts(connection, report)?;
    check_documents(connection, report)?;
    check_passages(connection, report)?;
    let count = |sql: &str| -> rusqlite::Result<usize> {
        let n: i64 = connection.query_row(sql, [], |row| row.get(0))?;
        Ok(usize::try_from(n).unwrap_or(0))
    };
    report.vectors = count("SELECT count(*) FROM vectors")?;
    report.vectors_bad = count(&format!("SELECT count(*) {}", bad_vectors()))?;
    Ok(())
}

/// Every row that answers are made of is as it was written.
fn check_sums(connection: &Connection, table: Summed, report: &mut VerifyReport) -> rusqlite::Result<()> {
    let name = table.table();
    // Documents are known by their path; others have none that could be trusted.
    let whose = match table {
        Summed::Audiences => "NULL, 'the list of who may read what'",
        Summed::Failures => "NULL, 'the list of files that failed'",
        Summed::Refusals => "NULL, 'the list of refused questions'",
        Summed::SetAside => "NULL, 'the list of files set aside'",
        Summed::Intake => "NULL, 'the list of accepted files'",
        _ => "t.document_id, (SELECT d.path FROM documents d WHERE d.document_id = t.document_id)",
    };
    let sql = format!("SELECT {whose} FROM {name} t WHERE NOT {}", table.is_intact("t"));
    let mut query = connection.prepare(&sql)?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        report.hurt.extend(row.get::<_, Option<String>>(0)?);
        report.n_remembered += usize::from(Summed::ONLY_REMEMBERED.contains(&table));
        let path: Option<String> = row.get(1)?;
        let path = path.unwrap_or_else(|| "no document".to_owned());
        report.fault(format!(
            "a row of `{path}` among the {name} is not as it was written"
        ));
    }
    Ok(())
}

/// There are as many documents and audiences as were written.
fn check_counts(connection: &Connection, report: &mut VerifyReport) -> rusqlite::Result<()> {
    for name in ["documents", "audiences"] {
        let there: i64 =
            connection.query_row(&format!("SELECT count(*) FROM {name}"), [], |row| row.get(0))?;
        let stated = meta(connection, name)?;
        if there != stated {
            report.fault(format!("there are {there} {name} instead of {stated}"));
        }
    }
    Ok(())
}

fn check_documents(connection: &Connection, report: &mut VerifyReport) -> rusqlite::Result<()> {
    let mut query = connection.prepare(
        "SELECT d.path, d.n_passages, (SELECT count(*) FROM passages p WHERE p.document_id = d.document_id),
                EXISTS (SELECT 1 FROM versions v WHERE v.document_id = d.document_id AND v.version = d.version),
                EXISTS (SELECT 1 FROM audiences a WHERE a.audience_id = d.audience_id), d.document_id
         FROM documents d ORDER BY d.path",
    )?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        report.documents += 1;
        let (path, stated, there): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if stated != there {
            report.hurt.insert(row.get(5)?);
            report.fault(format!("`{path}` has {there} passages instead of {stated}"));
        }
        if !row.get::<_, bool>(3)? {
            report.hurt.insert(row.get(5)?);
            report.fault(format!("the text of `{path}` is missing"));
        }
        if !row.get::<_, bool>(4)? {
            report.fault(format!("who may read `{path}` is missing, so nobody may"));
        }
    }
    let strays: i64 = connection.query_row(
        "SELECT count(*) FROM passages WHERE document_id NOT IN (SELECT document_id FROM documents)",
        [],
        |row| row.get(0),
    )?;
    if strays > 0 {
        report.fault(format!("{strays} passages belong to no document"));
    }
    Ok(())
}

/// Every passage is exactly the characters of its document's text that it says it is.
fn check_passages(connection: &Connection, report: &mut VerifyReport) -> rusqlite::Result<()> {
    let mut documents = connection.prepare(
        "SELECT d.document_id, d.path, v.text FROM documents d
         JOIN versions v ON v.document_id = d.document_id AND v.version = d.version ORDER BY d.path",
    )?;
    let mut passages = connection.prepare(&format!(
        "SELECT start_char, end_char, text, {} FROM passages p WHERE document_id = ?1 ORDER BY ordinal",
        Summed::Passages.is_intact("p")
    ))?;
    let mut rows = documents.query([])?;
    while let Some(row) = rows.next()? {
        let (id, path, text): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let index = crate::text::CharIndex::new(&text);
        let n_chars = text.chars().count();
        let mut of_document = passages.query([&id])?;
        while let Some(passage) = of_document.next()? {
            let (start, end): (i64, i64) = (passage.get(0)?, passage.get(1)?);
            let stored = passage.get_ref(2)?.as_str()?;
            let span = usize::try_from(start).ok().zip(usize::try_from(end).ok());
            let is_exact = span
                .filter(|(start, end)| start <= end && *end <= n_chars)
                .is_some_and(|(start, end)| index.slice(&text, start..end) == stored);
            // A damaged row is named already.
            if !is_exact && passage.get::<_, bool>(3)? {
                report.hurt.insert(id.clone());
                report.fault(format!(
                    "a passage of `{path}` is not its characters {start}..{end}"
                ));
            }
        }
    }
    Ok(())
}

/// Every passage with the audience of its document.
fn all_passages(connection: &Connection) -> rusqlite::Result<BTreeMap<u64, u32>> {
    connection
        .prepare(
            "SELECT p.passage_id, d.audience_id FROM passages p JOIN documents d ON d.document_id = p.document_id",
        )?
        .query_map([], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?)))?
        .collect()
}
