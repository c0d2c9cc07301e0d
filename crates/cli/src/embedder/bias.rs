//! What all questions share in E5's space, and what all those of one language share: taken off before searching.
//!
//! E5's vectors all lie in one narrow cone, and in it those of a language lie together: a question is near to whatever
//! is in its own language, and some passages are near to every question. So of a question's vector the part along the
//! line between two languages is left out (Yang et al., EMNLP 2021, for one direction), and some of the mean of all
//! questions (as in Mu and Viswanath, ICLR 2018). Passages keep their vectors: nothing that is stored depends on this.
//!
//! The questions below say the same in both languages, so that their subjects cancel out. They are of no set that
//! anything is measured with.

use knowledge::EmbedKind;

/// What is taken off of the mean of all questions (see docs/search.md).
const USUAL_SHARE: f32 = 0.2;

/// Questions as people ask them, in Korean and in English.
const QUESTIONS: [(&str, &str); 16] = [
    (
        "연차 휴가는 며칠인가요?",
        "How many days of annual leave are there?",
    ),
    (
        "비밀번호를 바꾸려면 어떻게 하나요?",
        "How do I change my password?",
    ),
    (
        "계약을 중도에 해지하면 위약금이 있나요?",
        "Is there a penalty for early termination of the contract?",
    ),
    ("보증 기간은 언제 끝나나요?", "When does the warranty end?"),
    (
        "출장비는 어떻게 정산하나요?",
        "How are travel expenses reimbursed?",
    ),
    (
        "프린터가 인쇄되지 않을 때는 어떻게 하나요?",
        "What should I do if the printer does not print?",
    ),
    ("누가 결재하나요?", "Who has to approve it?"),
    (
        "회의실은 어디에서 예약하나요?",
        "Where can I book a meeting room?",
    ),
    ("이 제품의 무게는 얼마인가요?", "How heavy is this product?"),
    (
        "개인정보는 얼마나 오래 보관하나요?",
        "How long is personal data kept?",
    ),
    ("지난해 매출은 얼마였나요?", "What was last year's revenue?"),
    (
        "신청에 필요한 서류는 무엇인가요?",
        "Which documents are needed for the application?",
    ),
    ("왜 오류가 나나요?", "Why does the error occur?"),
    ("환불은 며칠 걸리나요?", "How long does a refund take?"),
    (
        "두 요금제의 차이는 무엇인가요?",
        "What is the difference between the two plans?",
    ),
    ("재택근무가 가능한가요?", "Is it possible to work from home?"),
];

/// What is taken off a question's vector.
pub(super) struct Bias {
    /// From English to Korean, of unit length.
    language: Vec<f32>,
    /// The mean of all questions.
    usual: Vec<f32>,
}

impl Bias {
    /// Of the encoder that makes these vectors.
    pub(super) fn of(embed: impl Fn(EmbedKind, &[&str]) -> Vec<Vec<f32>>) -> Self {
        let (korean, english): (Vec<&str>, Vec<&str>) = QUESTIONS.into_iter().unzip();
        let korean = mean(&embed(EmbedKind::Query, &korean));
        let english = mean(&embed(EmbedKind::Query, &english));
        let mut language: Vec<f32> = korean.iter().zip(&english).map(|(k, e)| k - e).collect();
        let length = dot(&language, &language).sqrt();
        // An encoder for which both languages are the same has nothing to leave out.
        let scale = if length > 0.0 { length.recip() } else { 0.0 };
        language.iter_mut().for_each(|x| *x *= scale);
        Self {
            language,
            usual: mean(&[korean, english]),
        }
    }

    /// Takes it off.
    pub(super) fn take_off(&self, question: &mut [f32]) {
        let along = dot(question, &self.language);
        for ((x, language), usual) in question.iter_mut().zip(&self.language).zip(&self.usual) {
            *x -= along * language + USUAL_SHARE * usual;
        }
    }
}

fn mean(vectors: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = vec![0.0; vectors.first().map_or(0, Vec::len)];
    for vector in vectors {
        sum.iter_mut()
            .zip(vector)
            .for_each(|(sum, x)| *sum += x / vectors.len() as f32);
    }
    sum
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One axis is the language, one is shared by all questions, one is the subject.
    fn embed(_: EmbedKind, texts: &[&str]) -> Vec<Vec<f32>> {
        let is_korean = |text: &str| text.chars().any(|c| ('가'..='힣').contains(&c));
        let language = |text| if is_korean(text) { 0.3 } else { -0.3 };
        texts.iter().map(|text| vec![language(text), 0.8, 0.0]).collect()
    }

    #[test]
    fn nothing_is_left_of_the_language_and_the_subject_stays() {
        let bias = Bias::of(embed);
        let (mut korean, mut english) = (vec![0.3, 0.8, 0.5], vec![-0.3, 0.8, 0.5]);
        bias.take_off(&mut korean);
        bias.take_off(&mut english);
        for question in [korean, english] {
            assert!(question[0].abs() < 1e-6, "{question:?}");
            assert!((question[1] - 0.8 * (1.0 - USUAL_SHARE)).abs() < 1e-6);
            assert!((question[2] - 0.5).abs() < 1e-6);
        }
    }

    #[test]
    fn where_languages_are_the_same_only_the_mean_is_taken_off() {
        let bias = Bias::of(|_, texts| vec![vec![0.6, 0.8]; texts.len()]);
        let mut question = vec![1.0, 0.0];
        bias.take_off(&mut question);
        assert!((question[0] - (1.0 - USUAL_SHARE * 0.6)).abs() < 1e-6);
        assert!((question[1] + USUAL_SHARE * 0.8).abs() < 1e-6);
    }
}
