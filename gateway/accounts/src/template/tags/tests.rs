use super::*;
use crate::testing::{permissions, subject, template};

fn values(of: &[(&str, &[&str])]) -> TagValues {
    of.iter()
        .map(|(tag, values)| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            (TagName::parse(tag).unwrap(), values)
        })
        .collect()
}

fn many(count: usize) -> BTreeSet<String> {
    (0..count).map(|number| number.to_string()).collect()
}

const NO_ACCOUNT: AccountFacts<'static> = AccountFacts { name: "", tags: &[] };

#[test]
fn only_tags_that_the_template_uses_are_minted() {
    let template = template(
        "t",
        &["p.{{tag(project)}}.in"],
        &["p.{{tag(project)}}.>", "{{tag(team)}}.x"],
    );
    let names: Vec<String> = template.tag_names().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["project", "team"]);
    let tags = template
        .tags(
            &values(&[("project", &["b", "a"]), ("team", &[]), ("other", &["*"])]),
            NO_ACCOUNT,
        )
        .unwrap();
    assert_eq!(tags, ["project:a", "project:b"]);
}

#[test]
fn values_that_break_out_of_their_token_are_refused() {
    let template = template("t", &["p.{{tag(x)}}"], &["{{tag(y)}}.q"]);
    for bad in ["", "a.b", "*", ">", "a b", "a\n", "{{subject()}}", "}"] {
        for tag in ["x", "y"] {
            let error = template.tags(&values(&[(tag, &[bad])]), NO_ACCOUNT).unwrap_err();
            assert!(matches!(error, TagsError::Unsafe { .. }), "{bad:?}: {error:?}");
        }
    }
    // Only where it begins the subject does it lead into NATS' own.
    assert!(template.tags(&values(&[("x", &["$SYS"])]), NO_ACCOUNT).is_ok());
    assert!(template.tags(&values(&[("y", &["$SYS"])]), NO_ACCOUNT).is_err());
}

#[test]
fn a_denial_needs_its_tag() {
    let mut denying = permissions(&["p.>"], &["s"]);
    denying.publish.deny.push(subject("p.{{tag(x)}}"));
    let denying = Template::new("t".parse().unwrap(), denying, natsgate_core::Limits::default()).unwrap();
    for missing in [values(&[]), values(&[("x", &[])])] {
        let error = denying.tags(&missing, NO_ACCOUNT).unwrap_err();
        assert!(matches!(
            error,
            TagsError::Missing {
                list: List::PublishDeny,
                ..
            }
        ));
    }
    denying.tags(&values(&[("x", &["a"])]), NO_ACCOUNT).unwrap();
}

#[test]
fn a_user_comes_to_no_more_subjects_than_a_server_makes() {
    let template = template("t", &["{{tag(x)}}.{{tag(y)}}"], &["s.{{tag(x)}}"]);
    let with = |x: usize, y: usize| {
        let mut values = TagValues::new();
        values.insert(TagName::parse("x").unwrap(), many(x));
        values.insert(TagName::parse("y").unwrap(), many(y));
        template.tags(&values, NO_ACCOUNT)
    };
    assert_eq!(with(64, 64).unwrap().len(), 128);
    assert_eq!(
        with(64, 65).unwrap_err(),
        TagsError::TooMany {
            template: "t".parse().unwrap(),
            list: List::PublishAllow,
            subjects: 4160,
        }
    );
}

#[test]
fn what_comes_from_the_account_is_checked_too() {
    let template = template("t", &["{{account-name()}}.x"], &["r.{{account-tag(region)}}"]);
    let tags = ["region:eu".to_owned(), "region:us".to_owned()];
    let facts = AccountFacts {
        name: "APP",
        tags: &tags,
    };
    template.check_account(facts).unwrap();
    for name in ["", "a.b", ">", "my app", "$SYS"] {
        let error = template
            .check_account(AccountFacts { name, ..facts })
            .unwrap_err();
        assert!(matches!(error, TagsError::Account { .. }), "{name:?}");
    }
    let none = template.check_account(AccountFacts { tags: &[], ..facts });
    assert!(matches!(none, Err(TagsError::NoAccountTag { .. })));
    let bad = ["region:eu".to_owned(), "region:*".to_owned()];
    let bad = template
        .tags(&values(&[]), AccountFacts { tags: &bad, ..facts })
        .unwrap_err();
    assert!(
        bad.to_string()
            .contains("the account's tag region: it contains a wildcard"),
        "{bad}"
    );
}
