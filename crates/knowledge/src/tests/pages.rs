//! Pages as pictures with the quote marked: whose, of which version, and what the store keeps of them.

use super::*;
use crate::read::tests::made::{HELVETICA, lines, pdf_pages};
use crate::{Hit, PagePicture};

fn report(sentence: &str) -> Vec<u8> {
    let contents = [lines(12, 700, &["A first page."]), lines(12, 600, &[sentence])];
    pdf_pages(&contents, &[HELVETICA.to_owned()], &[], "")
}

fn put(house: &House, name: &str, bytes: &[u8]) -> PathBuf {
    let path = house.documents.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn one(store: &Store, question: &str) -> Hit {
    find(store, question).swap_remove(0)
}

fn picture(view: &View<'_>, hit: &Hit, page: u32) -> Option<PagePicture> {
    view.page_picture(&hit.document_id, Some(&hit.version), page, 200)
        .unwrap()
}

#[test]
fn every_passage_of_a_pdf_file_has_places_on_its_page() {
    let house = House::new();
    let store = house.open();
    put(
        &house,
        "report.pdf",
        &report("The mill was closed in the spring."),
    );
    house.ingest(&store);
    let hit = one(&store, "mill closed spring");
    let view = seen(&store);
    let marks = view
        .marks(&hit.document_id, Some(&hit.version), hit.start..hit.end)
        .unwrap()
        .unwrap();
    assert_eq!(marks.len(), 1);
    assert_eq!(
        (marks[0].page, marks[0].width, marks[0].height),
        (2, 595.0, 842.0)
    );
    let line = marks[0].lines[0];
    assert_eq!(line.x, 72.0);
    assert!((225.0..255.0).contains(&(line.y + line.height)), "{line:?}");
    let words = view.page_words(&hit.document_id, None, 2).unwrap().unwrap();
    assert_eq!(words.words.len(), 7);
    let drawn = picture(&view, &hit, 2).unwrap();
    assert!(matches!(drawn, PagePicture::Drawn(png) if png.starts_with(b"\x89PNG")));
    for page in [0, 3, u32::MAX] {
        assert_eq!(picture(&view, &hit, page), Some(PagePicture::NoSuchPage));
    }
}

#[test]
fn documents_without_pages_have_no_pictures() {
    let house = House::new();
    let store = house.open();
    house.write("a.txt", "alpha words");
    house.ingest(&store);
    let hit = one(&store, "alpha");
    let view = seen(&store);
    assert_eq!(picture(&view, &hit, 1), Some(PagePicture::NoSuchPage));
    assert_eq!(
        view.marks(&hit.document_id, None, 0..5).unwrap(),
        Some(Vec::new())
    );
}

#[test]
fn a_file_that_changed_is_never_shown_as_the_version_that_was_cited() {
    let house = House::new();
    let store = house.open();
    let path = put(&house, "report.pdf", &report("The mill was closed."));
    house.ingest(&store);
    let old = one(&store, "mill");
    fs::write(&path, report("The mill was opened again.")).unwrap();
    assert_eq!(picture(&seen(&store), &old, 2), Some(PagePicture::Changed));
    house.ingest(&store);
    let new = one(&store, "mill opened");
    assert!(matches!(
        picture(&seen(&store), &new, 2),
        Some(PagePicture::Drawn(_))
    ));
    assert_eq!(picture(&seen(&store), &old, 2), Some(PagePicture::Changed));
    // The old version's words keep their places.
    let marks = seen(&store)
        .marks(&old.document_id, Some(&old.version), old.start..old.end)
        .unwrap();
    assert_eq!(marks.unwrap().len(), 1);
    fs::remove_file(&path).unwrap();
    assert_eq!(picture(&seen(&store), &new, 2), Some(PagePicture::Changed));
}

#[test]
fn who_may_not_read_a_document_learns_nothing_of_its_pages() {
    let house = House::new();
    let store = house.open();
    put(&house, "hr/pay.pdf", &report("The payroll is large."));
    house.write("hr/.hanok-access", "hr\n");
    house.ingest(&store);
    let hit = one(&store, "payroll");
    let guest = store.view(&Reader::anyone()).unwrap();
    assert_eq!(picture(&guest, &hit, 2), None);
    assert_eq!(picture(&guest, &hit, 99), None);
    assert_eq!(guest.marks(&hit.document_id, None, 0..9).unwrap(), None);
    assert_eq!(guest.page_words(&hit.document_id, None, 2).unwrap(), None);
    assert_eq!(guest.drawable_page(&hit.document_id, None, 2).unwrap(), None);
    let clerk = store.view(&Reader::of(["hr"])).unwrap();
    assert!(matches!(picture(&clerk, &hit, 2), Some(PagePicture::Drawn(_))));
}

#[test]
fn uploads_have_pictures_and_removed_documents_leave_no_places() {
    let house = House::new();
    let store = house.open();
    store
        .ingest_upload("report.pdf", &report("The mill was closed."))
        .unwrap();
    let hit = one(&store, "mill");
    assert!(matches!(
        picture(&seen(&store), &hit, 2),
        Some(PagePicture::Drawn(_))
    ));
    let n_rows = || {
        let count =
            |c: &rusqlite::Connection| c.query_row("SELECT count(*) FROM page_words", [], |row| row.get(0));
        store.files().catalog.read("count", count).unwrap()
    };
    let before: i64 = n_rows();
    assert_eq!(before, 2);
    assert!(store.remove(&hit.document_id).unwrap());
    assert_eq!(n_rows(), 0);
}

#[test]
fn documents_of_a_layout_without_places_get_them_and_keep_their_passages() {
    let house = House::new();
    let store = house.open();
    put(&house, "report.pdf", &report("The mill was closed."));
    house.ingest(&store);
    let before = one(&store, "mill");
    drop(store);
    // As the fourth layout had it.
    let database = rusqlite::Connection::open(house.data.join("hanok.sqlite")).unwrap();
    database
        .execute_batch(
            "DROP TABLE page_words; DROP TABLE set_aside; UPDATE schema SET version = 4;
             UPDATE documents SET cutter = 1;
             DELETE FROM meta WHERE key IN ('documents', 'audiences', 'index_folder', 'generation');
             DROP TABLE intake; DROP TABLE page_notes; DROP TABLE reindex; DROP TABLE reindex_cut; DROP TABLE reindex_gone;
             DROP TABLE next_passages; DROP INDEX documents_changed;
             ALTER TABLE documents DROP COLUMN changed; ALTER TABLE documents DROP COLUMN stated_sum;
             ALTER TABLE versions DROP COLUMN blocks; ALTER TABLE embedders DROP COLUMN source;",
        )
        .unwrap();
    for table in [
        "documents",
        "versions",
        "passages",
        "audiences",
        "vectors",
        "failures",
        "refusals",
    ] {
        database
            .execute(&format!("ALTER TABLE {table} DROP COLUMN sum"), [])
            .unwrap();
    }
    drop(database);
    let store = house.open();
    assert_eq!(
        seen(&store).marks(&before.document_id, None, 0..99).unwrap(),
        Some(Vec::new())
    );
    let report = store.resume(&mut |_| Go::On).unwrap();
    assert_eq!((report.changed, report.failed.len()), (1, 0));
    assert_eq!(
        seen(&store)
            .marks(&before.document_id, None, 0..99)
            .unwrap()
            .unwrap()
            .len(),
        2
    );
    let after = one(&store, "mill");
    assert_eq!(after.passage_id, before.passage_id, "and with it its vector");
    assert!(store.verify(false).unwrap().is_sound());
}
