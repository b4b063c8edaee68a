//! Variants: what they change, and mistakes in them.

use super::*;

/// The shop with a variant that has these keys.
fn with(keys: &str) -> String {
    format!("{SHOP}\n[[variant]]\nname = \"other\"\n{keys}\n")
}

fn error(text: &str) -> String {
    check(text, &[]).map(|_| ()).unwrap_err().plain()
}

fn line_of(text: &str, what: &str) -> usize {
    text[..text.find(what).unwrap()].matches('\n').count() + 1
}

#[test]
fn a_variant_is_the_scenario_with_other_values() {
    let text = with(
        "unset = [\"components.prices.queue_cap\", 'links.\"edge -> stock\".timeout']\n\
         set = { \"components.stock.servers\" = 8, 'links.\"edge -> prices\".timeout' = \"1s\" }",
    );
    let base = check(&text, &["components.prices.servers=2"]).unwrap();
    let other = base.variant("other").unwrap();
    assert_eq!((base.variant.as_str(), other.variant.as_str()), (BASE, "other"));
    // By hand, with the override in both.
    let by_hand = SHOP
        .replace("servers = 4", "servers = 8")
        .replace("queue_cap = 100\n", "")
        .replace("timeout = \"250ms\"\n", "");
    let by_hand = format!("{by_hand}\n[links.\"edge -> prices\"]\ntimeout = \"1s\"\n");
    let by_hand = check(&by_hand, &["components.prices.servers=2"]).unwrap();
    assert_eq!(other.scenario, by_hand.scenario);
    assert_eq!(other.hash(), by_hand.hash());
    assert_eq!(base.hash(), check(SHOP, &["components.prices.servers=2"]).unwrap().hash());
    // The canonical form keeps variants.
    let canonical = base.scenario.to_toml();
    assert_eq!(check(&canonical, &[]).unwrap().scenario, base.scenario, "{canonical}");
    assert_eq!(base.variant(BASE).unwrap().scenario, base.scenario);
}

#[test]
fn mistakes_in_a_variant_are_seen_whichever_is_run() {
    let text = with("set = { \"components.stock.server\" = 8 }");
    let line = line_of(&text, "set =");
    let message = error(&text);
    assert!(message.starts_with(&format!("shop.toml:{line}:9: unknown key `server`")), "{message}");
    let text = with("set = { \"components.stok.servers\" = 8 }");
    let message = error(&text);
    assert!(message.contains(&format!("toml:{line}:9: there is no `stok` in components")), "{message}");
    assert!(message.contains("did you mean `stock`?"), "{message}");
    let message = error(&with("set = { \"components.stock.servers\" = \"many\" }"));
    assert!(message.contains(&format!("toml:{line}:38: ")), "{message}");
    let message = error(&with("unset = [\"components.stock.queue_cap\"]"));
    assert!(message.contains("there is no `queue_cap` in components.stock"), "{message}");
    let message = error(&with("set = { \"components..x\" = 8 }"));
    assert!(message.contains("a key is missing in the path"), "{message}");
    let message = error(&with("set = { \"components.stock.servers = 4\" = 8 }"));
    assert!(message.contains("`=` in the path"), "{message}");
}

#[test]
fn names_are_unique() {
    let twice = format!("{}\n[[variant]]\nname = \"other\"\n", with(""));
    assert!(error(&twice).contains("two variants named `other`"));
    assert!(error(&with("").replace("\"other\"", "\"base\"")).contains("`base` is what"));
    assert!(error(&with("").replace("\"other\"", "\" \"")).contains("without a name"));
    let loaded = check(&with(""), &[]).unwrap();
    let message = loaded.variant("othr").unwrap_err().plain();
    assert!(message.contains("there is no variant `othr` (did you mean `other`?"), "{message}");
    let message = check(SHOP, &[]).unwrap().variant("x").unwrap_err().plain();
    assert!(message.contains("the scenario has none"), "{message}");
}

#[test]
fn all_variants_are_those_that_are_asked_for_by_name() {
    let more = "[[variant]]\nname = \"more\"\nset = { \"components.stock.servers\" = 9, \"run.seed\" = 1 }\n";
    let text = format!("{}{more}", with("unset = [\"components.prices.queue_cap\"]"));
    let loaded = check(&text, &["run.seed=5"]).unwrap();
    let all: Vec<Loaded> = loaded.variants().unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(all.iter().map(|one| one.variant.as_str()).collect::<Vec<_>>(), ["other", "more"]);
    for one in &all {
        let named = loaded.variant(&one.variant).unwrap();
        assert_eq!((&one.scenario, one.sets()), (&named.scenario, named.sets()));
        assert_eq!(one.scenario.run.seed, 5, "overrides hold in all");
        assert_eq!(one.variants().unwrap().count(), 0);
    }
}
