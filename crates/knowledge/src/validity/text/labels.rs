//! The labels under which documents state their validity, their owner and what they replace; in lower case.

/// A label.
pub(super) type Label = &'static str;

/// Before the first day.
pub(super) const FROM: [Label; 24] = [
    "effective date",
    "date effective",
    "effective from",
    "effective as of",
    "effective since",
    "effective on",
    "effective",
    "valid from",
    "valid since",
    "in force from",
    "in force since",
    "in effect from",
    "in effect since",
    "entry into force",
    "start of validity",
    "시행일자",
    "시행일",
    "시행",
    "효력발생일",
    "발효일자",
    "발효일",
    "적용시작일",
    "적용일자",
    "적용일",
];
/// Before the last day.
pub(super) const UNTIL: [Label; 17] = [
    "valid until",
    "valid through",
    "valid till",
    "valid to",
    "expires on",
    "expires",
    "expiry date",
    "expiration date",
    "expiry",
    "expiration",
    "end of validity",
    "in force until",
    "in effect until",
    "유효기한",
    "만료일자",
    "만료일",
    "효력만료일",
];
/// Before both.
pub(super) const RANGE: [Label; 9] = [
    "validity period",
    "period of validity",
    "effective period",
    "validity",
    "유효기간",
    "시행기간",
    "적용기간",
    "효력기간",
    "존속기간",
];
/// Before whose it is.
pub(super) const OWNER: [Label; 11] = [
    "document owner",
    "policy owner",
    "process owner",
    "owner",
    "responsible department",
    "담당부서",
    "소관부서",
    "관리부서",
    "주관부서",
    "문서책임자",
    "문서관리자",
];
/// Before what it replaces.
pub(super) const REPLACES: [Label; 4] = [SUPERSEDES, "replaces", "대체하는문서", "대체문서"];
/// Nothing but a document does this, so it needs no colon.
pub(super) const SUPERSEDES: Label = "supersedes";
