//! The tables of components in scenario files.

use std::fmt::Write;

use super::{Kind, MOST_CALLS};

/// A component that calls nobody.
const END: &str = "kind = \"service\"\nservice_time = \"5ms\"";

/// A component's table, whom it calls, and how many calls that comes to.
pub(super) fn component(index: usize, kind: &Kind, weights: &[usize]) -> (String, Vec<usize>, usize) {
    let later = weights.len() - index - 1;
    let nth = |number: usize| index + 1 + number % later;
    match kind {
        Kind::Flow(_)
        | Kind::Dice(..)
        | Kind::Rules(..)
        | Kind::Queue(..)
        | Kind::Cascade { .. }
        | Kind::Cache { .. }
        | Kind::Guess { .. }
            if later == 0 =>
        {
            (END.to_owned(), Vec::new(), 1)
        }
        Kind::Flow(steps) => {
            let weight = |callees: &[usize]| callees.iter().map(|callee| weights[*callee]).sum::<usize>();
            let (mut tables, mut callees, mut total) = (Vec::new(), Vec::new(), 1);
            for (targets, repeat, is_for_some) in steps {
                let targets: Vec<usize> = targets.iter().map(|target| nth(*target)).collect();
                let more = weight(&targets) * *repeat as usize;
                if total + more > MOST_CALLS && !tables.is_empty() {
                    break;
                }
                let classes = if *is_for_some { ", classes = [\"low\"]" } else { "" };
                let (targets, repeat) =
                    if total + more > MOST_CALLS { (targets[..1].to_vec(), 1) } else { (targets, *repeat) };
                total += weight(&targets) * repeat as usize;
                let names: Vec<String> = targets.iter().map(|target| format!("\"c{target}\"")).collect();
                let what = match names.as_slice() {
                    [name] => format!("call = {name}"),
                    names => format!("parallel = [{}]", names.join(", ")),
                };
                tables.push(format!("{{ {what}, repeat = {repeat}{classes} }}"));
                callees.extend(targets);
            }
            (format!("kind = \"flow\"\nsteps = [{}]", tables.join(", ")), callees, total)
        }
        Kind::Dice(a, b, share) => {
            let (a, b) = (nth(*a), nth(*b));
            let shares =
                if a == b { format!("c{a} = 1") } else { format!("c{a} = {share}, c{b} = {}", 1.0 - share) };
            let table = format!("kind = \"router\"\npolicy = \"random\"\nshares = {{ {shares} }}");
            (table, vec![a, b], 1 + weights[a].max(weights[b]))
        }
        Kind::Rules(a, b, when, latency) => {
            let (a, b) = (nth(*a), nth(*b));
            let latency = latency.map_or(String::new(), |latency| format!("latency = {latency}\n"));
            let table = format!(
                "kind = \"router\"\npolicy = \"rules\"\n{latency}rules = [{{ when = {{ {when} }}, to = \"c{a}\" }}]\ndefault = \"c{b}\""
            );
            (table, vec![a, b], 1 + weights[a].max(weights[b]))
        }
        Kind::Cascade { stages, judge, accepts, budget } => {
            let [a, b] = stages.map(nth);
            let judge = judge.map(nth);
            let judged =
                judge.map_or("latency = \"10ms\"".to_owned(), |judge| format!("judge = \"c{judge}\""));
            let budget = budget.map_or(String::new(), |share| format!("escalation_budget = {share}\n"));
            let table = format!(
                "kind = \"cascade\"\n{budget}stages = [{{ call = \"c{a}\", verifier = {{ acceptance_rate = {accepts}, {judged} }} }}, {{ call = \"c{b}\" }}]"
            );
            let callees: Vec<usize> = [a, b].into_iter().chain(judge).collect();
            match callees.iter().map(|callee| weights[*callee]).sum::<usize>() {
                weight if weight > MOST_CALLS => (END.to_owned(), Vec::new(), 1),
                weight => (table, callees, 1 + weight),
            }
        }
        Kind::Cache { behind, latency, size, ttl } => {
            let behind = nth(*behind);
            let latency = latency.map_or(String::new(), |latency| format!("latency = {latency}\n"));
            let ttl = if *ttl { "ttl = \"500ms\"\n" } else { "" };
            let table = format!(
                "kind = \"semantic_cache\"\ncall = \"c{behind}\"\nmax_size = {size}\n{ttl}{latency}price_per_lookup = \"$0.001\""
            );
            (table, vec![behind], 1 + weights[behind])
        }
        Kind::Api { ttft, requests, most, errors } => {
            let mut table = format!(
                "kind = \"external_api\"\nttft = {ttft}\ntime_per_output_token = \"2ms\"\nerror_rate = {errors}\n\
                 price = {{ input = \"$1/Mtok\", output = \"$3/Mtok\" }}\n"
            );
            if let Some(limit) = requests {
                let _ = writeln!(table, "requests_per_minute = {limit}\nlimit_window = \"1s\"");
            }
            if let Some(most) = most {
                let _ = writeln!(table, "max_concurrency = {most}");
            }
            (table, Vec::new(), 1)
        }
        Kind::Guess { targets, latency, errors, timeout } => {
            let [a, b] = targets.map(nth);
            let timeout = if *timeout { "timeout = \"20ms\"\n" } else { "" };
            let table = format!(
                "kind = \"router\"\npolicy = \"cheapest\"\nlatency = {latency}\nerror_rate = {errors}\n{timeout}fallback = \"c{b}\"\n\
                 cheapest = {{ models = [{{ to = \"c{a}\", latency = \"10ms\" }}, {{ to = \"c{b}\", latency = \"20ms\" }}], \
                 latency_bound = \"30ms\", scrape_interval = \"100ms\" }}"
            );
            (table, vec![a, b], 1 + weights[a].max(weights[b]))
        }
        Kind::Store { mode, features, connections, cap, timeout } => {
            let mut table = format!(
                "kind = \"feature_store\"\nfeatures = {features}\nread = \"{mode}\"\n\
                 lookup = {{ exponential = {{ mean = \"4ms\" }} }}\nbase = \"1ms\"\n"
            );
            if let Some(connections) = connections {
                let _ = writeln!(table, "connections = {connections}");
            }
            if let (Some(_), Some(cap)) = (connections, cap) {
                let _ = writeln!(table, "queue_cap = {cap}");
            }
            if *timeout {
                table.push_str("read_timeout = \"10ms\"\n");
            }
            (table, Vec::new(), 1)
        }
        Kind::Queue(target, more) => {
            let target = nth(*target);
            (format!("kind = \"queue\"\ntarget = \"c{target}\"\n{more}"), vec![target], 1 + weights[target])
        }
        Kind::Llm(replicas) => {
            let table = format!(
                "kind = \"llm\"\nmodel = \"llama-3.1-8b\"\ngpu = \"h100-sxm\"\nreplicas = {replicas}"
            );
            (table, Vec::new(), 1)
        }
        Kind::Zoned(kind, pool) => (format!("{kind}\n{pool}"), Vec::new(), 1),
        Kind::Service { time, servers, discipline, cap, errors } => {
            let cap = cap.map_or(String::new(), |cap| format!("queue_cap = {cap}\n"));
            let table = format!(
                "kind = \"service\"\nservice_time = {time}\nservers = {servers}\ndiscipline = \"{discipline}\"\nerror_rate = {errors}\n{cap}"
            );
            (table, Vec::new(), 1)
        }
    }
}
