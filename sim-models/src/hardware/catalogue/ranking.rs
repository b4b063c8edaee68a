//! Ranking models: deep learning recommendation models (DLRM).

use serde::Deserialize;

/// A deep learning recommendation model (Naumov et al. 2019, arXiv 1906.00091): embeddings of categorical
/// features are looked up, dense features go through a bottom network, their pairwise dot products
/// and the dense vector through a top network to one score.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RankingModel {
    /// Name in scenarios, such as `dlrm-mlperf`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Dense features of an item.
    pub dense_features: u64,
    /// Widths of the bottom network's layers; the last is that of an embedding.
    pub bottom: Vec<u64>,
    /// Rows of each embedding table, one table for each categorical feature.
    pub tables: Vec<u64>,
    /// Widths of the top network's layers; the last is 1.
    pub top: Vec<u64>,
    /// Where the figures are from.
    pub source: String,
}

impl RankingModel {
    /// Width of an embedding.
    pub fn embedding_width(&self) -> u64 {
        self.bottom.last().copied().unwrap_or(0)
    }

    /// Parameters of all embedding tables.
    pub fn embedding_parameters(&self) -> u64 {
        self.tables.iter().sum::<u64>() * self.embedding_width()
    }

    /// Parameters of both networks, biases included.
    pub fn network_parameters(&self) -> u64 {
        let pairs = self.vectors() * (self.vectors() - 1) / 2;
        layers(self.dense_features, &self.bottom) + layers(pairs + self.embedding_width(), &self.top)
    }

    /// FLOP to score one item: both networks and the dot products of all pairs of vectors.
    pub fn flops_per_item(&self) -> u64 {
        2 * self.network_parameters() + self.vectors() * (self.vectors() - 1) * self.embedding_width()
    }

    /// Bytes of embeddings that are looked up for one item, in fp32.
    pub fn lookup_bytes_per_item(&self) -> u64 {
        4 * self.tables.len() as u64 * self.embedding_width()
    }

    /// Bytes of all parameters, in fp32.
    pub fn weight_bytes(&self) -> u64 {
        4 * (self.embedding_parameters() + self.network_parameters())
    }

    /// Vectors that are multiplied with each other: an embedding for each table and the dense one.
    fn vectors(&self) -> u64 {
        self.tables.len() as u64 + 1
    }
}

fn layers(inputs: u64, widths: &[u64]) -> u64 {
    let before = std::iter::once(&inputs).chain(widths);
    before.zip(widths).map(|(from, to)| from * to + to).sum()
}
