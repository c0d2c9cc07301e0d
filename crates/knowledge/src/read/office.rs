//! What all Office Open XML packages share: relations between parts, and the title in their properties.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::builder::Builder;
use super::package::Package;
use super::xml::{self, Node};
use super::{ReadError, Run};

/// A relation of a part to another one.
pub(super) struct Relation {
    /// The last word of its type's address: "slide", "worksheet", "officeDocument".
    pub(super) kind: String,
    /// The part it points to, as a path in the package.
    pub(super) target: String,
}

/// The relations of a part by id; none if it has no list of them.
pub(super) fn relations(
    package: &mut Package<'_>,
    part: &str,
    run: Run<'_>,
) -> Result<BTreeMap<String, Relation>, ReadError> {
    let (folder, name) = part.rsplit_once('/').unwrap_or(("", part));
    let list = if folder.is_empty() {
        format!("_rels/{name}.rels")
    } else {
        format!("{folder}/_rels/{name}.rels")
    };
    let mut relations = BTreeMap::new();
    let Some(bytes) = package.part(&list, run)? else {
        return Ok(relations);
    };
    xml::walk(&bytes, &list, run, &mut |node| {
        if let Node::Open("Relationship", attributes) = node
            && attributes.get("TargetMode").as_deref() != Some("External")
            && let (Some(id), Some(kind), Some(target)) = (
                attributes.get("Id"),
                attributes.get("Type"),
                attributes.get("Target"),
            )
        {
            let kind = kind.rsplit('/').next().unwrap_or_default().to_owned();
            let target = resolve(folder, &target);
            relations.insert(id, Relation { kind, target });
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(relations)
}

/// The part that holds the document, as the package's relations state it, or else where it usually is.
pub(super) fn main_part(package: &mut Package<'_>, usual: &str, run: Run<'_>) -> Result<String, ReadError> {
    let stated = relations(package, "", run)?
        .into_values()
        .find(|relation| relation.kind == "officeDocument")
        .map(|relation| relation.target);
    Ok(stated
        .filter(|main| package.has(main))
        .unwrap_or_else(|| usual.to_owned()))
}

/// A part that must be there.
pub(super) fn required(package: &mut Package<'_>, part: &str, run: Run<'_>) -> Result<Vec<u8>, ReadError> {
    package.part(part, run)?.ok_or_else(|| ReadError::Corrupt {
        what: format!("its part `{part}` is missing"),
    })
}

/// The title that the document's properties state.
pub(super) fn title(package: &mut Package<'_>, run: Run<'_>) -> Result<Option<String>, ReadError> {
    const PART: &str = "docProps/core.xml";
    let Some(part) = package.part(PART, run)? else {
        return Ok(None);
    };
    text_of(&part, PART, "title", run)
}

/// Notes what the document's properties state beside the title: whose it is, and what its makers added to the list.
pub(super) fn properties(
    package: &mut Package<'_>,
    builder: &mut Builder<'_>,
    run: Run<'_>,
) -> Result<(), ReadError> {
    const APP: &str = "docProps/app.xml";
    const CUSTOM: &str = "docProps/custom.xml";
    if let Some(part) = package.part(APP, run)?
        && let Some(manager) = text_of(&part, APP, "Manager", run)?
    {
        builder.property("Manager", &manager);
    }
    match package.part(CUSTOM, run)? {
        Some(part) => named_values(&part, CUSTOM, "property", builder, run),
        None => Ok(()),
    }
}

/// Notes the text of every element of this name under the name that it states.
pub(super) fn named_values(
    part: &[u8],
    name: &str,
    element: &str,
    builder: &mut Builder<'_>,
    run: Run<'_>,
) -> Result<(), ReadError> {
    let (mut stated, mut text): (Option<String>, String) = (None, String::new());
    xml::walk(part, name, run, &mut |node| {
        match node {
            Node::Open(name, attributes) if name == element => {
                stated = attributes.get("name");
                text.clear();
            }
            Node::Close(name) if name == element => {
                if let Some(stated) = stated.take() {
                    builder.property(&stated, text.trim());
                }
            }
            Node::Text(piece) if stated.is_some() => text.push_str(piece),
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// The text of the first element of this name that has any.
pub(super) fn text_of(
    part: &[u8],
    name: &str,
    element: &str,
    run: Run<'_>,
) -> Result<Option<String>, ReadError> {
    let (mut text, mut is_inside) = (String::new(), false);
    xml::walk(part, name, run, &mut |node| {
        match node {
            Node::Open(name, _) if name == element => is_inside = true,
            Node::Close(name) if name == element => {
                if !text.trim().is_empty() {
                    return Ok(ControlFlow::Break(()));
                }
                is_inside = false;
            }
            Node::Text(piece) if is_inside => text.push_str(piece),
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(Some(text).filter(|text| !text.trim().is_empty()))
}

/// A target as a path in the package: from its root if it begins with a slash, else from the folder of the part that
/// names it.
pub(super) fn resolve(folder: &str, target: &str) -> String {
    let (base, target) = match target.strip_prefix('/') {
        Some(target) => ("", target),
        None => (folder, target),
    };
    let mut path: Vec<&str> = base.split('/').filter(|step| !step.is_empty()).collect();
    for step in target.split('/') {
        match step {
            "" | "." => {}
            ".." => {
                path.pop();
            }
            step => path.push(step),
        }
    }
    path.join("/")
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn targets_are_relative_to_the_part_that_names_them() {
        assert_eq!(
            resolve("ppt/slides", "../notesSlides/n1.xml"),
            "ppt/notesSlides/n1.xml"
        );
        assert_eq!(resolve("ppt", "/xl/a.xml"), "xl/a.xml");
        assert_eq!(resolve("", "../../etc/passwd"), "etc/passwd");
    }
}
