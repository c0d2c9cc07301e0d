//! However it is written, the same thing has the same name, and different things never do.

use proptest::prelude::*;

use super::*;

/// What a text names, in order, in its most exact form.
fn names(text: &str) -> Vec<String> {
    let chars = prepare(text);
    let mut names = Vec::new();
    scan(&chars, |_, named| names.push(named.term()));
    names
}

fn same(spellings: &[&str]) {
    let first = names(spellings[0]);
    assert_eq!(first.len(), 1, "{}: {first:?}", spellings[0]);
    for spelling in spellings {
        assert_eq!(names(spelling), first, "{spelling}");
        // Within a sentence too, with a particle behind it.
        assert_eq!(
            names(&format!("그것은 {spelling}, 이다.")),
            first,
            "{spelling} in a sentence"
        );
    }
}

fn passage(text: &str) -> Vec<String> {
    Article::default().terms_of_passage(&[], text)
}

#[test]
fn a_date_has_one_name() {
    same(&[
        "2024-03-01",
        "2024.03.01",
        "2024. 3. 1.",
        "2024/3/1",
        "2024년 3월 1일",
        "2024년3월1일",
        "'24. 3. 1.",
        "24년 3월 1일",
        "20240301",
        "1 March 2024",
        "1st of March, 2024",
        "01-Mar-2024",
        "March 1, 2024",
        "Mar. 1st 2024",
        "1.3.2024",
        "２０２４-０３-０１",
    ]);
    assert_eq!(names("2024-03-01T12:30"), ["d:2024-03-01"]);
    assert_eq!(
        names("2024년 3월 1일부터 2024년 3월 31일까지"),
        ["d:2024-03-01", "d:2024-03-31"]
    );
    assert_eq!(names("2024년 3월에"), names("March 2024"));
    assert_eq!(names("3월 1일"), names("1 March"));
}

#[test]
fn what_can_be_read_in_two_ways_or_not_at_all_is_no_date() {
    for text in [
        "03/04/2024",
        "2024-02-30",
        "2023-02-29",
        "2024-13-01",
        "20241301",
        "02-1234-5678",
        "1.2.3-4",
    ] {
        assert!(
            names(text).iter().all(|name| !name.starts_with("d:")),
            "{text}: {:?}",
            names(text)
        );
    }
    assert_eq!(names("25/12/2024"), names("12/25/2024"));
}

#[test]
fn an_amount_has_one_name() {
    same(&[
        "1,500,000원",
        "1500000원",
        "150만원",
        "150만 원",
        "1백50만원",
        "일백오십만원",
        "₩1,500,000",
        "￦1,500,000",
        "1500000 KRW",
        "KRW 1,500,000",
        "1.5 million won",
    ]);
    same(&["3억 5,000만원", "350,000,000원", "3억5천만 원", "삼억오천만원"]);
    same(&[
        "$2,500",
        "USD 2500",
        "2,500달러",
        "2.5 thousand dollars",
        "US$2,500",
    ]);
    assert_eq!(names("1조 2000억원"), ["krw:1200000000000"]);
    assert_eq!(names("5원"), ["krw:5"]);
    assert_eq!(names("천원을"), ["krw:1000"]);
}

#[test]
fn words_that_only_look_like_amounts_are_none() {
    for text in [
        "구원",
        "이 원칙",
        "3원칙",
        "만원버스 이야기가 조원",
        "사이",
        "오백",
        "일이 많다",
        "won 3 prizes",
    ] {
        let found: Vec<String> = names(text)
            .into_iter()
            .filter(|name| name != "krw:10000")
            .collect();
        assert_eq!(found, Vec::<String>::new(), "{text}");
    }
}

#[test]
fn a_percentage_has_one_name() {
    same(&[
        "15%",
        "15 %",
        "15％",
        "15퍼센트",
        "15 percent",
        "15 per cent",
        "15.0%",
        "100분의 15",
    ]);
    same(&["15%p", "15%포인트", "15 percentage points", "15퍼센트포인트"]);
    assert_ne!(names("15%"), names("15%p"));
    assert_ne!(names("15%"), names("1.5%"));
}

#[test]
fn a_clause_has_one_name() {
    same(&[
        "제12조 제3항",
        "제12조제3항",
        "제12조 3항",
        "제 12 조 제 3 항",
        "12조 3항",
        "Article 12(3)",
        "Art. 12, paragraph 3",
    ]);
    same(&["제12조의2", "12조의2"]);
    same(&[
        "§4.2.1",
        "§ 4.2.1",
        "Section 4.2.1",
        "제4.2.1절",
        "4.2.1항",
        "4.2.1",
    ]);
    same(&["제3장", "Chapter 3"]);
    assert_eq!(names("제7조제1항제2호가목"), ["c:조7항1호2목가"]);
    assert_ne!(names("제12조"), names("제12조의2"));
    assert_eq!(names("12조원"), ["krw:12000000000000"]);
}

#[test]
fn a_part_number_has_one_name() {
    same(&["AB-1234/5", "ab-1234/5", "AB1234/5", "AB‐1234/5", "AB_1234/5"]);
    assert_ne!(names("AB-1234/5"), names("AB-1234/6"));
    assert_ne!(names("AB-1234/5"), names("AB-12345"));
    assert_eq!(names("v1.2.3"), ["p:v-1.2.3"]);
}

#[test]
fn a_paragraph_belongs_to_the_article_above_it() {
    let mut article = Article::default();
    let terms = article.terms_of_passage(&[], "제12조(해지) ① 서면으로 한다.\n③ 위약금은 없다.");
    assert!(terms.contains(&"c:조12항3".to_owned()), "{terms:?}");
    // The next passage goes on within the same article.
    let terms = article.terms_of_passage(&[], "④ 통지는 30일 전에 한다. 제5조에 따른다.\n⑤ 끝.");
    assert!(terms.contains(&"c:조12항4".to_owned()), "{terms:?}");
    assert!(
        terms.contains(&"c:조5".to_owned()) && terms.contains(&"c:조12항5".to_owned()),
        "{terms:?}"
    );
    let of_heading = Article::default().terms_of_passage(&["제2장 계약", "제9조(대금)"], "② 매월 말일.");
    assert!(of_heading.contains(&"c:조9항2".to_owned()) && of_heading.contains(&"c:장2".to_owned()));
}

#[test]
fn a_passage_is_found_by_less_than_it_names_and_never_by_more() {
    let day = passage("시행일은 2024년 3월 1일이다.");
    for question in ["2024-03-01", "2024년 3월", "3월 1일"] {
        assert!(
            terms_of_question(question)
                .iter()
                .any(|(term, _)| day.contains(term)),
            "{question}"
        );
    }
    let month = passage("2024년 3월에 시행한다.");
    assert!(
        terms_of_question("2024-03-01")
            .iter()
            .all(|(term, _)| !month.contains(term))
    );
    let amount = passage("총액 150만원");
    assert!(
        terms_of_question("1,500,000")
            .iter()
            .any(|(term, _)| amount.contains(term))
    );
}

fn date() -> impl Strategy<Value = (u32, u32, u32)> {
    (1950_u32..2100, 1_u32..13, 1_u32..29)
}

const MONTH_NAMES: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn spellings_of_date((y, m, d): (u32, u32, u32)) -> Vec<String> {
    let name = MONTH_NAMES[m as usize - 1];
    vec![
        format!("{y}-{m:02}-{d:02}"),
        format!("{y}. {m}. {d}."),
        format!("{y}.{m:02}.{d:02}"),
        format!("{y}/{m}/{d}"),
        format!("{y}년 {m}월 {d}일"),
        format!("{y}년{m:02}월{d:02}일"),
        format!("{y}{m:02}{d:02}"),
        format!("{d} {name} {y}"),
        format!("{name} {d}, {y}"),
        format!("{d:02}-{}-{y}", &name[..3]),
        format!("{d}.{m}.{y}"),
    ]
}

fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn spellings_of_amount(n: u64) -> Vec<String> {
    let (eok, man, rest) = (n / 100_000_000, n / 10_000 % 10_000, n % 10_000);
    let mut units = String::new();
    let mut hangul = String::new();
    for (part, unit) in [(eok, "억"), (man, "만"), (rest, "")] {
        if part > 0 {
            units += &format!("{part}{unit}");
            hangul += &format!("{}{unit}", in_hangul(part));
        }
    }
    let mut all = vec![
        format!("{n}원"),
        format!("{}원", grouped(n)),
        format!("{units}원"),
        format!("{units} 원"),
        format!("₩{}", grouped(n)),
        format!("KRW {n}"),
        format!("{} won", grouped(n)),
        format!("{}.{:06} million won", n / 1_000_000, n % 1_000_000),
    ];
    if n >= 10 {
        all.push(format!("{hangul}원"));
    }
    all
}

fn in_hangul(n: u64) -> String {
    let digits = ["", "일", "이", "삼", "사", "오", "육", "칠", "팔", "구"];
    let part = |n: u64, unit: &str| match n {
        0 => String::new(),
        n => format!("{}{unit}", digits[n as usize]),
    };
    part(n / 1000, "천") + &part(n / 100 % 10, "백") + &part(n / 10 % 10, "십") + &part(n % 10, "")
}

proptest! {
    #[test]
    fn all_spellings_of_a_date_match_each_other_and_no_others(a in date(), b in date()) {
        let key = format!("d:{:04}-{:02}-{:02}", a.0, a.1, a.2);
        for spelling in spellings_of_date(a) {
            prop_assert_eq!(names(&spelling), vec![key.clone()], "{}", spelling);
            let terms = passage(&format!("계약은 {spelling}에 끝난다."));
            for other in spellings_of_date(b) {
                let finds = terms_of_question(&other).iter().any(|(term, _)| terms.contains(term));
                prop_assert_eq!(finds, a == b, "{} in {}", other, spelling);
            }
        }
    }

    #[test]
    fn all_spellings_of_an_amount_match_each_other_and_no_others(
        a in 1_u64..1_000_000_000_000,
        b in 1_u64..1_000_000_000_000,
        near in 0_u64..3,
    ) {
        let b = if near == 0 { b } else { a + near - 1 };
        for spelling in spellings_of_amount(a) {
            prop_assert_eq!(names(&spelling), vec![format!("krw:{a}")], "{}", spelling);
        }
        let terms = passage(&format!("위약금은 {}이다.", spellings_of_amount(a)[2]));
        for other in spellings_of_amount(b) {
            let finds = terms_of_question(&other).iter().any(|(term, _)| terms.contains(term));
            prop_assert_eq!(finds, a == b, "{}", other);
        }
    }

    #[test]
    fn all_spellings_of_a_clause_match_each_other(article in 1_u32..2000, paragraph in 1_u32..20) {
        let spellings = [
            format!("제{article}조 제{paragraph}항"),
            format!("제{article}조제{paragraph}항"),
            format!("{article}조 {paragraph}항"),
            format!("Article {article}({paragraph})"),
        ];
        for spelling in spellings {
            prop_assert_eq!(names(&spelling), vec![format!("c:조{article}항{paragraph}")], "{}", spelling);
        }
    }

    #[test]
    fn any_text_is_read_to_its_end(text in "(\\PC|[0-9.,/\\-제조항원만억년월일 ①②③]){0,120}") {
        let terms = passage(&text);
        prop_assert!(terms.iter().all(|term| !term.is_empty() && term.len() < 256));
        terms_of_question(&text);
    }
}
