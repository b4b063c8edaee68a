//! Where the boxes of a diagram go: layers from left to right, by the longest way from a source, and within a layer
//! in the order of their neighbours (Sugiyama, Tagawa and Toda 1981). Long links pass between boxes through places of
//! their own.

/// Rounds in which layers are put in order, there and back.
const ROUNDS: usize = 8;

/// Places of nodes and links: layer, and row from above.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// How many layers there are.
    pub layers: usize,
    /// How many rows high it is.
    pub height: f64,
    /// Of every node.
    pub places: Vec<(usize, f64)>,
    /// Of every link: its ends and the places between them.
    pub routes: Vec<Vec<(usize, f64)>>,
}

impl Layout {
    pub(super) fn new(nodes: usize, links: &[(usize, usize)]) -> Self {
        let forward = forward(nodes, links);
        let mut layer = longest_ways(nodes, links, &forward);
        // A node for every layer that a link passes.
        let mut chains: Vec<Vec<usize>> = Vec::new();
        for (link, (from, to)) in links.iter().enumerate() {
            let mut chain = vec![*from];
            if forward[link] {
                for between in layer[*from] + 1..layer[*to] {
                    chain.push(layer.len());
                    layer.push(between);
                }
            }
            chain.push(*to);
            chains.push(chain);
        }
        let layers = layer.iter().max().map_or(0, |last| last + 1);
        let pairs: Vec<(usize, usize)> = chains
            .iter()
            .zip(&forward)
            .filter(|(_, forward)| **forward)
            .flat_map(|(chain, _)| chain.windows(2).map(|pair| (pair[0], pair[1])))
            .collect();
        let mut order: Vec<Vec<usize>> = vec![Vec::new(); layers];
        for (node, layer) in layer.iter().enumerate() {
            order[*layer].push(node);
        }
        sort(&mut order, &layer, &pairs);
        let rows = rows(&order, &layer, &pairs, nodes);
        let lowest = rows.iter().copied().fold(0.0, f64::min);
        let rows: Vec<f64> = rows.iter().map(|row| row - lowest).collect();
        let place = |node: usize| (layer[node], rows[node]);
        Self {
            layers,
            height: rows.iter().copied().fold(0.0, f64::max) + 1.0,
            places: (0..nodes).map(place).collect(),
            routes: chains.into_iter().map(|chain| chain.into_iter().map(place).collect()).collect(),
        }
    }
}

/// Which links lead on, and do not close a circle.
fn forward(nodes: usize, links: &[(usize, usize)]) -> Vec<bool> {
    /// 0 not seen, 1 under way, 2 done.
    fn visit(node: usize, links: &[(usize, usize)], state: &mut [u8], forward: &mut [bool]) {
        state[node] = 1;
        for (number, (from, to)) in links.iter().enumerate() {
            if *from == node {
                forward[number] = state[*to] != 1;
                if state[*to] == 0 {
                    visit(*to, links, state, forward);
                }
            }
        }
        state[node] = 2;
    }
    let (mut state, mut forward) = (vec![0; nodes], vec![true; links.len()]);
    for node in 0..nodes {
        if state[node] == 0 {
            visit(node, links, &mut state, &mut forward);
        }
    }
    forward
}

fn longest_ways(nodes: usize, links: &[(usize, usize)], forward: &[bool]) -> Vec<usize> {
    let mut layer = vec![0; nodes];
    // Without circles no way is longer than there are nodes.
    for _ in 0..nodes {
        for ((from, to), _) in links.iter().zip(forward).filter(|(_, forward)| **forward) {
            layer[*to] = layer[*to].max(layer[*from] + 1);
        }
    }
    layer
}

/// The mean row of a node's neighbours in an adjacent layer.
fn barycentre(node: usize, pairs: &[(usize, usize)], row: &[f64], before: bool) -> Option<f64> {
    let neighbours = pairs.iter().filter_map(|(from, to)| match before {
        true => (*to == node).then_some(row[*from]),
        false => (*from == node).then_some(row[*to]),
    });
    let (sum, count) = neighbours.fold((0.0, 0.0), |(sum, count), row| (sum + row, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

fn crossings(order: &[Vec<usize>], layer: &[usize], pairs: &[(usize, usize)]) -> usize {
    let row = positions(order, layer.len());
    let crosses = |(a, b): &(usize, usize), (c, d): &(usize, usize)| {
        layer[*a] == layer[*c] && (row[*a] - row[*c]) * (row[*b] - row[*d]) < 0.0
    };
    let later = pairs.iter().enumerate();
    later.map(|(i, pair)| pairs[i + 1..].iter().filter(|other| crosses(pair, other)).count()).sum()
}

fn positions(order: &[Vec<usize>], nodes: usize) -> Vec<f64> {
    let mut row = vec![0.0; nodes];
    for nodes in order {
        for (place, node) in nodes.iter().enumerate() {
            row[*node] = place as f64;
        }
    }
    row
}

/// Puts the nodes of each layer in the order in which fewest links cross.
fn sort(order: &mut Vec<Vec<usize>>, layer: &[usize], pairs: &[(usize, usize)]) {
    let mut best = order.clone();
    let mut fewest = crossings(order, layer, pairs);
    for round in 0..ROUNDS {
        let before = round % 2 == 0;
        let layers: Vec<usize> =
            if before { (0..order.len()).collect() } else { (0..order.len()).rev().collect() };
        for number in layers {
            let row = positions(order, layer.len());
            order[number].sort_by(|a, b| {
                let key = |node: usize| barycentre(node, pairs, &row, before).unwrap_or(row[node]);
                key(*a).total_cmp(&key(*b))
            });
        }
        let now = crossings(order, layer, pairs);
        if now < fewest {
            (fewest, best) = (now, order.clone());
        }
    }
    *order = best;
}

/// Rows near those of neighbours, a box apart at least; links that pass take half the room.
fn rows(order: &[Vec<usize>], layer: &[usize], pairs: &[(usize, usize)], nodes: usize) -> Vec<f64> {
    let mut row = positions(order, layer.len());
    for round in 0..ROUNDS {
        let before = round % 2 == 0;
        let layers: Vec<usize> =
            if before { (0..order.len()).collect() } else { (0..order.len()).rev().collect() };
        for number in layers {
            let wanted: Vec<f64> = order[number]
                .iter()
                .map(|node| barycentre(*node, pairs, &row, before).unwrap_or(row[*node]))
                .collect();
            apart(&order[number], &wanted, nodes, &mut row);
        }
    }
    row
}

/// Gives nodes the rows that they want as far as they keep their distance, and their mean where they cannot.
fn apart(order: &[usize], wanted: &[f64], nodes: usize, row: &mut [f64]) {
    let gap = |a: usize, b: usize| {
        if a >= nodes && b >= nodes {
            0.45
        } else if a >= nodes || b >= nodes {
            0.75
        } else {
            1.0
        }
    };
    let mut at = f64::NEG_INFINITY;
    let mut placed = Vec::with_capacity(order.len());
    for (number, node) in order.iter().enumerate() {
        let least = if number == 0 { f64::NEG_INFINITY } else { at + gap(order[number - 1], *node) };
        at = wanted[number].max(least);
        placed.push(at);
    }
    let count = order.len().max(1) as f64;
    let push = placed.iter().zip(wanted).map(|(placed, wanted)| placed - wanted).sum::<f64>() / count;
    for (node, placed) in order.iter().zip(placed) {
        row[*node] = placed - push;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn calls_go_from_left_to_right() {
        // A source, an edge that calls three, one of which calls another.
        let layout = Layout::new(6, &[(0, 1), (1, 2), (1, 3), (1, 4), (3, 5), (1, 5)]);
        let layers: Vec<usize> = layout.places.iter().map(|place| place.0).collect();
        assert_eq!(layers, [0, 1, 2, 2, 2, 3]);
        // The long link passes the layer between.
        assert_eq!(layout.routes[5].len(), 3);
        assert_eq!((layout.layers, layout.routes[0].len()), (4, 2));
    }

    #[test]
    fn circles_are_drawn_too() {
        let layout = Layout::new(3, &[(0, 1), (1, 2), (2, 1), (2, 2)]);
        assert_eq!(layout.places.iter().map(|place| place.0).collect::<Vec<_>>(), [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn boxes_do_not_overlap(links in prop::collection::vec((0usize..12, 0usize..12), 0..30)) {
            let layout = Layout::new(12, &links);
            for (number, (layer, row)) in layout.places.iter().enumerate() {
                prop_assert!(*row >= 0.0 && *row <= layout.height - 1.0 + 1e-9 && *layer < layout.layers);
                for (other_layer, other) in &layout.places[number + 1..] {
                    prop_assert!(layer != other_layer || (row - other).abs() >= 1.0 - 1e-9);
                }
            }
        }
    }
}
