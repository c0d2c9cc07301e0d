//! Encrypted documents: opened with a password that is known, refused with what to do about it otherwise.
//!
//! The files were made with qpdf 12.4.2 out of a page of one sentence; the owner's password of each is `owner`.

use super::made::{HELVETICA, lines, package, pdf_pages};
use super::*;

const SENTENCE: &str = "The vault is behind the painting.";
/// Name and the user's password.
const FILES: [(&str, &str); 6] = [
    ("r2-rc4-40", "open sesame"),
    ("r3-rc4-128", "open sesame"),
    ("r4-aes-128", "open sesame"),
    ("r5-aes-256", "open sesame"),
    ("r6-aes-256", "열려라 참깨"),
    ("r6-object-streams", "open sesame"),
];

fn file(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/encrypted");
    stdx::fs::read(folder.join(format!("{name}.pdf"))).unwrap()
}

fn passwords(lines: &str) -> Passwords {
    Passwords::parse(lines).unwrap()
}

fn read_with_passwords(bytes: &[u8], lines: &str) -> Result<RawDocument, ReadError> {
    let (limits, passwords) = (Limits::default(), passwords(lines));
    let means = Means {
        isolation: &Isolation::Thread,
        limits: &limits,
        passwords: &passwords,
    };
    read_with(Path::new("a.pdf"), bytes, means)
}

fn draw(bytes: &[u8], lines: &str) -> Result<Vec<u8>, PictureError> {
    let (limits, passwords) = (Limits::default(), passwords(lines));
    let means = Means {
        isolation: &Isolation::Thread,
        limits: &limits,
        passwords: &passwords,
    };
    draw_page(bytes, (1, 200), means)
}

#[test]
fn opens_every_standard_encryption_with_a_known_password() {
    for (name, password) in FILES {
        let bytes = file(name);
        let known = format!("another\n{password}\nand one more\n");
        let document = read_with_passwords(&bytes, &known).unwrap();
        assert_eq!(texts(&document), [SENTENCE], "{name}");
        assert!(draw(&bytes, &known).unwrap().starts_with(b"\x89PNG"), "{name}");
    }
}

#[test]
fn opens_with_the_owners_password_too() {
    for (name, _) in FILES {
        let document = read_with_passwords(&file(name), "owner").unwrap();
        assert_eq!(texts(&document), [SENTENCE], "{name}");
    }
}

#[test]
fn opens_without_a_word_what_has_no_users_password() {
    let bytes = file("r4-no-user-password");
    assert_eq!(texts(&read_named("a.pdf", &bytes).unwrap()), [SENTENCE]);
    assert!(draw(&bytes, "").is_ok());
}

#[test]
fn says_what_to_do_where_no_password_fits() {
    for (name, _) in FILES {
        let bytes = file(name);
        let error = read_named("a.pdf", &bytes).unwrap_err();
        assert_eq!(error, ReadError::Locked { n_tried: 0 }, "{name}");
        assert!(error.to_string().contains("`pdf_passwords`"), "{error}");
        let error = read_with_passwords(&bytes, "wrong\nOpen Sesame").unwrap_err();
        assert_eq!(error, ReadError::Locked { n_tried: 2 }, "{name}");
        let said = error.to_string();
        assert!(said.contains("another password than the 2"), "{said}");
        assert!(!said.contains("wrong"), "no password is ever repeated: {said}");
        let drawn = draw(&bytes, "wrong").unwrap_err();
        assert_eq!(
            drawn,
            PictureError::Read(ReadError::Locked { n_tried: 1 }),
            "{name}"
        );
    }
}

#[test]
fn names_an_encryption_that_it_does_not_know() {
    let encrypt = "/Encrypt << /Filter /Acme.Vault /V 4 >> /ID [<01> <01>]";
    let bytes = pdf_pages(
        &[lines(10, 700, &["Secret."])],
        &[HELVETICA.to_owned()],
        &[],
        encrypt,
    );
    let error = read_with_passwords(&bytes, "open sesame").unwrap_err();
    assert!(error.to_string().contains("by Acme.Vault"), "{error}");
}

#[test]
fn refuses_locked_office_files_by_name() {
    let mut bytes = package(&[
        ("word/document.xml", b"<w/>"),
        ("[Content_Types].xml", b"<Types/>"),
    ]);
    // The bit of the general purpose flags that says "encrypted", in the local header and in the directory.
    let headers: Vec<usize> = (0..bytes.len() - 8)
        .filter(|at| matches!(&bytes[*at..*at + 4], b"PK\x03\x04" | b"PK\x01\x02"))
        .collect();
    for at in headers {
        let flags = if bytes[at + 2] == 3 { at + 6 } else { at + 8 };
        bytes[flags] |= 1;
    }
    let error = read_named("a.docx", &bytes).unwrap_err();
    assert_eq!(error, ReadError::Encrypted);
}
