//! How a resource that is held by time is paid: on demand, reserved, or spot.
//!
//! A component's own price, or the catalogue's, is that on demand. Another model takes its discount off it, the
//! catalogue's ([`discounts`]) or the scenario's, or has a price of its own:
//!
//! ```toml
//! price_model = "spot"
//! price_model = { model = "spot", discount = 0.7 }
//! price_model = { model = "spot", price_per_hour = "$1.25/h" }
//! price_model = { reserved = 4 }     # four replicas reserved, others on demand
//! ```
//!
//! What is reserved is paid whether or not it is held; what is held beyond it is paid by the model.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::sync::LazyLock;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess};
use serde::{Serialize, Serializer};

use super::{CostMeter, Price};
use crate::autoscaler::WarmPoolConfig;
use crate::component::ComponentId;
use crate::error::ConfigError;
use crate::hardware::catalogue::Gpu;
use crate::hardware::unpack;
use crate::pool::notation::{self, Notation, described};
use crate::system::Scope;
use crate::units::{HourlyPrice, Probability};

/// How what is held by time is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PriceModel {
    /// By the hour, whenever it is wanted.
    #[default]
    OnDemand,
    /// For a term of a year or more, held or not.
    Reserved,
    /// What nobody else wants now, until somebody does.
    Spot,
}

impl PriceModel {
    /// Its name in scenarios and on the bill.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::Reserved => "reserved",
            Self::Spot => "spot",
        }
    }
}

/// A discount of the catalogue.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discount {
    /// Of which price model.
    pub model: PriceModel,
    /// Of which GPU; none for everything without an entry of its own.
    pub gpu: Option<String>,
    /// Share that it takes off the price on demand.
    pub share: f64,
    /// Where it comes from.
    pub source: String,
    /// From when it is.
    pub date: String,
}

/// What data cost that go from one place to another.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// Between which places: `zones` of a region.
    pub between: String,
    /// USD of a GB, once for what leaves and once for what enters.
    pub usd_per_gb_each_way: f64,
    /// Where it comes from.
    pub source: String,
    /// From when it is.
    pub date: String,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceFile {
    discount: Vec<Discount>,
    transfer: Vec<Transfer>,
}

static PRICES: LazyLock<PriceFile> =
    LazyLock::new(|| unpack(include_bytes!(concat!(env!("OUT_DIR"), "/prices.msgpack"))));

/// Every discount of the catalogue.
pub fn discounts() -> &'static [Discount] {
    &PRICES.discount
}

/// Every price of data on their way in the catalogue.
pub fn transfers() -> &'static [Transfer] {
    &PRICES.transfer
}

/// USD of a GB between zones, each way, and where it comes from.
pub(crate) fn cross_zone_price() -> (f64, String) {
    let entry = transfers().iter().find(|entry| entry.between == "zones").expect("the catalogue has zones");
    (entry.usd_per_gb_each_way, format!("{} ({})", entry.source, entry.date))
}

/// The catalogue's discount of a model for a GPU, or for anything else.
fn discount(model: PriceModel, gpu: Option<&str>) -> Option<&'static Discount> {
    let of = |wanted: Option<&str>| {
        discounts().iter().find(|entry| entry.model == model && entry.gpu.as_deref() == wanted)
    };
    gpu.and_then(|gpu| of(Some(gpu))).or_else(|| of(None))
}

/// How a component pays for what it holds: the name of a price model, or a table.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub struct PriceModelConfig {
    /// The model. Default: `on-demand`.
    pub model: PriceModel,
    /// Share that it takes off the price on demand. Default: the catalogue's, with its source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discount: Option<Probability>,
    /// Price by this model, in place of a discount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_per_hour: Option<HourlyPrice>,
    /// How many (of a pool: replicas; of a disaggregated one decode workers first) are reserved and paid all the time, at the catalogue's discount for
    /// `reserved`; the model is that of those beyond. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserved: Option<NonZeroU32>,
    /// Share that reserving those takes off the price on demand. Default: the catalogue's, with its source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserved_discount: Option<Probability>,
}

impl Notation for PriceModelConfig {
    const NAMES: &'static [&'static str] = &["on-demand", "reserved", "spot"];
    const EXPECTED: &'static str = "a price model such as \"spot\", or { model = \"spot\", discount = 0.7 }";

    fn named(name: &str) -> Option<Self> {
        let models = [PriceModel::OnDemand, PriceModel::Reserved, PriceModel::Spot];
        let model = models.into_iter().find(|model| model.name() == name)?;
        Some(Self { model, ..Self::default() })
    }

    fn from_table<'de, A: MapAccess<'de>>(table: A) -> Result<Self, A::Error> {
        Self::deserialize(MapAccessDeserializer::new(table))
    }
}

impl<'de> Deserialize<'de> for PriceModelConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        notation::read(deserializer)
    }
}

impl Serialize for PriceModelConfig {
    /// The name where it says it all.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let name = self.model.name();
        if Self::named(name).as_ref() == Some(self) {
            serializer.serialize_str(name)
        } else {
            Self::serialize(self, serializer)
        }
    }
}

impl JsonSchema for PriceModelConfig {
    fn schema_name() -> Cow<'static, str> {
        "PriceModelConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = json_schema!({
            "type": "object",
            "properties": {
                "model": described(generator.subschema_for::<PriceModel>(), "The model. Default: `on-demand`."),
                "discount": described(
                    generator.subschema_for::<Probability>(),
                    "Share that it takes off the price on demand. Default: the catalogue's, with its source.",
                ),
                "price_per_hour": described(
                    generator.subschema_for::<HourlyPrice>(),
                    "Price by this model, in place of a discount.",
                ),
                "reserved": {
                    "type": "integer",
                    "minimum": 1,
                    "description": "How many (of a pool: replicas) are reserved and paid all the time, at the \
                                    catalogue's discount for `reserved`; the model is that of those beyond. \
                                    Default: none.",
                },
                "reserved_discount": described(
                    generator.subschema_for::<Probability>(),
                    "Share that reserving those takes off the price on demand. Default: the catalogue's, with its \
                     source.",
                ),
            },
            "additionalProperties": false,
        });
        json_schema!({
            "description": "How what is held by time is paid: the name of a price model, or a table with its \
                            discount or price, and how much is reserved.",
            "anyOf": [{ "type": "string", "enum": Self::NAMES, "description": "With its defaults." }, table],
        })
    }
}

/// A price, how it was come by, and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tariff {
    pub model: PriceModel,
    /// USD an hour and unit.
    pub usd_per_hour: f64,
    pub source: String,
}

/// The price on demand of what is rented.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ListPrice<'a> {
    /// USD an hour and unit, and the source.
    pub price: Option<(f64, &'a str)>,
    /// The GPU, by its id, where it is one.
    pub gpu: Option<&'a str>,
}

impl<'a> ListPrice<'a> {
    /// What the scenario says; no price where it says nothing.
    pub(crate) fn given(price: Option<HourlyPrice>) -> Self {
        Self { price: price.map(|price| (price.per_hour(), "scenario")), gpu: None }
    }

    /// What the scenario says of a GPU or a host, or else the catalogue.
    pub(crate) fn of(gpu: &'a Gpu, given: Option<HourlyPrice>) -> Self {
        let price = match given {
            Some(price) => (price.per_hour(), "the scenario"),
            None => (gpu.price_per_hour, gpu.price_source.as_str()),
        };
        Self { price: Some(price), gpu: Some(&gpu.id) }
    }

    /// The price by a model; `key` is where its discount would be said.
    fn by(
        self,
        model: PriceModel,
        given: Option<Probability>,
        key: &str,
    ) -> Result<Option<Tariff>, ConfigError> {
        if model == PriceModel::OnDemand && given.is_some() {
            let message = format!("`{key}` has no effect on what is paid on demand");
            return Err(ConfigError::new([key], message).help("expected model = \"reserved\" or \"spot\""));
        }
        let Some((list, source)) = self.price else { return Ok(None) };
        let known = discount(model, self.gpu);
        let (share, of) = match (given, known) {
            (Some(share), _) => (share.get(), "the scenario".to_owned()),
            (None, Some(known)) => (known.share, format!("{}, {}", known.source, known.date)),
            (None, None) => {
                let usd_per_hour = list;
                return Ok(Some(Tariff { model, usd_per_hour, source: source.to_owned() }));
            }
        };
        let source = format!("{} {}% off ({of}); on demand: {source}", model.name(), percent(share));
        Ok(Some(Tariff { model, usd_per_hour: list * (1.0 - share), source }))
    }
}

fn percent(share: f64) -> String {
    let tenths = (share * 1e3).round() / 10.0;
    format!("{tenths}")
}

impl PriceModelConfig {
    /// With at most so many reserved.
    pub(crate) fn within(self, count: u32) -> Self {
        Self {
            reserved: self.reserved.and_then(|reserved| NonZeroU32::new(reserved.get().min(count))),
            ..self
        }
    }

    /// With those reserved that are beyond so many.
    pub(crate) fn beyond(self, count: u32) -> Self {
        let reserved =
            self.reserved.and_then(|reserved| NonZeroU32::new(reserved.get().saturating_sub(count)));
        let reserved_discount = self.reserved_discount.filter(|_| reserved.is_some());
        Self { reserved, reserved_discount, ..self }
    }

    /// The price of what is not reserved; `None` where there is none.
    ///
    /// # Errors
    /// What does not go together; the path starts at the model.
    pub(crate) fn tariff(&self, list: ListPrice) -> Result<Option<Tariff>, ConfigError> {
        match self.price_per_hour {
            Some(_) if self.discount.is_some() => {
                Err(ConfigError::new(["discount"], "both `discount` and `price_per_hour` are given")
                    .help("keep one of the two"))
            }
            Some(price) => Ok(Some(Tariff {
                model: self.model,
                usd_per_hour: price.per_hour(),
                source: format!("{}: the scenario", self.model.name()),
            })),
            None => list.by(self.model, self.discount, "discount"),
        }
    }

    /// The price of what is reserved, and how many are.
    fn reservation(&self, list: ListPrice) -> Result<Option<(u32, Tariff)>, ConfigError> {
        let Some(count) = self.reserved else {
            return match self.reserved_discount {
                Some(_) => Err(ConfigError::new(["reserved_discount"], "nothing is reserved")
                    .help("expected `reserved` beside it, or model = \"reserved\" with `discount`")),
                None => Ok(None),
            };
        };
        if self.model == PriceModel::Reserved {
            return Err(ConfigError::new(["reserved"], "with model = \"reserved\" everything is")
                .help("leave one of the two out"));
        }
        let tariff = list.by(PriceModel::Reserved, self.reserved_discount, "reserved_discount")?;
        let Some(tariff) = tariff else {
            return Err(ConfigError::new(
                ["reserved"],
                "there is no price on demand to take the discount off",
            )
            .help("expected the component's own price beside `price_model`, such as \"$2.50/h\""));
        };
        Ok(Some((count.get(), tariff)))
    }
}

/// What a component rents.
#[derive(Debug, Clone)]
pub(crate) struct Rent<'a> {
    /// What it is: `gpu h100-sxm`, `server`.
    pub resource: String,
    pub list: ListPrice<'a>,
    pub model: Option<&'a PriceModelConfig>,
    /// Units held from the start.
    pub units: u64,
    /// Units that each reserved one is, such as the GPUs of a replica.
    pub each: u64,
}

impl CostMeter {
    /// Puts what a component rents on the bill: the number of the line for [`CostMeter::hold`]; none where it has
    /// no price.
    ///
    /// # Errors
    /// What is wrong with the price model; the path starts at the component.
    pub(crate) fn rent(&mut self, me: ComponentId, rent: Rent) -> Result<Option<usize>, ConfigError> {
        let Rent { resource, list, model, units, each } = rent;
        let within = |error: ConfigError| error.within("price_model");
        let config = model.copied().unwrap_or_default();
        let reservation = config.reservation(list).map_err(within)?;
        let Some(tariff) = config.tariff(list).map_err(within)? else {
            return match model {
                Some(_) => Err(ConfigError::new(["price_model"], "there is no price to take it from")
                    .help("expected the component's own price beside it, such as \"$2.50/h\"")),
                None => Ok(None),
            };
        };
        let beyond = reservation.map_or(0, |(count, tariff)| {
            let reserved = u64::from(count) * each;
            self.add_line(me, format!("{resource}, reserved"), tariff, reserved, 0);
            reserved
        });
        Ok(Some(self.add_line(me, resource, tariff, units, beyond)))
    }

    /// Puts equal shares of something that is rented on the bill.
    pub(crate) fn add_share(
        &mut self,
        me: ComponentId,
        resource: String,
        tariff: &Tariff,
        share: f64,
        count: u64,
    ) {
        let tariff = Tariff { usd_per_hour: tariff.usd_per_hour * share, ..tariff.clone() };
        self.add_line(me, resource, tariff, count, 0);
    }

    fn add_line(
        &mut self,
        me: ComponentId,
        resource: String,
        tariff: Tariff,
        units: u64,
        beyond: u64,
    ) -> usize {
        let price = Price::PerHour(tariff.usd_per_hour);
        let line = self.add(me, resource, price, tariff.source, units.saturating_sub(beyond));
        self.items[line].model = tariff.model;
        self.items[line].beyond = beyond;
        line
    }
}

impl Scope<'_> {
    /// Puts the replicas of a warm pool that do not run on the bill, if they have a price: the number of the line.
    pub(crate) fn rent_warm(&mut self, warm_pool: Option<&WarmPoolConfig>) -> Option<usize> {
        let price = Price::PerHour(warm_pool?.price_per_hour?.per_hour());
        let (cost, me) = self.cost();
        Some(cost.add(me, "warm replica", price, "scenario", 0))
    }

    /// Puts what the component rents on the bill, as [`CostMeter::rent`].
    pub(crate) fn rent(&mut self, rent: Rent) -> Result<Option<usize>, ConfigError> {
        let (cost, me) = self.cost();
        cost.rent(me, rent)
    }
}
