//! Passages that stand together help each other: a page is about more than one passage of it.
//!
//! Short passages are precise to cite but hold few of a question's words; what the rest of the page says tells
//! which of several similar passages is meant. Moves scores only among what the index found.

use std::collections::BTreeMap;

use crate::catalog::Place;

/// How much of the best neighbour's score a passage gains.
const SHARE: f32 = 0.2;

/// Adds to each score a share of the best neighbour's: on the same page, or right before or after where there are
/// no pages. Best first, equal ones by id.
pub(crate) fn supported(found: &[(u64, f32)], places: &[Place]) -> Vec<(u64, f32)> {
    let scores: BTreeMap<u64, f32> = found.iter().copied().collect();
    let mut around: BTreeMap<(&str, Spot), Vec<(u64, f32)>> = BTreeMap::new();
    let placed: Vec<(&Place, f32)> =
        places.iter().filter_map(|place| Some((place, *scores.get(&place.passage_id)?))).collect();
    for (place, score) in &placed {
        around.entry((&place.document_id, spot(place))).or_default().push((place.passage_id, *score));
    }
    let mut supported: Vec<(u64, f32)> = placed
        .iter()
        .map(|(place, score)| {
            let near = spots_near(place).into_iter().flatten();
            let best = near
                .filter_map(|spot| around.get(&(place.document_id.as_str(), spot)))
                .flatten()
                .filter(|(id, _)| *id != place.passage_id)
                .map(|(_, score)| *score)
                .fold(0.0, f32::max);
            (place.passage_id, score + SHARE * best)
        })
        .collect();
    supported.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    supported
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Spot {
    Page(u32),
    Ordinal(u64),
}

fn spot(place: &Place) -> Spot {
    place.page.map_or(Spot::Ordinal(place.ordinal), Spot::Page)
}

fn spots_near(place: &Place) -> [Option<Spot>; 2] {
    match place.page {
        Some(page) => [Some(Spot::Page(page)), None],
        None => [
            place.ordinal.checked_sub(1).map(Spot::Ordinal),
            place.ordinal.checked_add(1).map(Spot::Ordinal),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(passage_id: u64, document: &str, ordinal: u64, page: Option<u32>) -> Place {
        Place { passage_id, document_id: document.to_owned(), ordinal, page }
    }

    #[test]
    fn a_good_neighbour_decides_between_equals() {
        let places = [
            place(1, "a", 0, Some(1)),
            place(2, "a", 1, Some(2)),
            place(3, "a", 2, Some(2)),
            place(4, "b", 0, Some(2)),
        ];
        let found = [(1, 1.0), (2, 1.0), (3, 0.5), (4, 0.9)];
        let ids: Vec<u64> = supported(&found, &places).iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [2, 1, 4, 3]);
    }

    #[test]
    fn without_pages_the_passages_before_and_after_count() {
        let places = [place(1, "a", 0, None), place(2, "a", 1, None), place(3, "a", 3, None)];
        let scores: Vec<f32> =
            supported(&[(1, 1.0), (2, 2.0), (3, 1.5)], &places).iter().map(|(_, s)| *s).collect();
        assert_eq!(scores, [2.0 + SHARE, 1.5, 1.0 + 2.0 * SHARE]);
    }
}
