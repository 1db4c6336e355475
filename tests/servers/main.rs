//! Tests against real servers, in one binary so that one RabbitMQ, which takes seconds to start, serves them all.

#[cfg(test)]
mod alerting;
#[cfg(test)]
mod asked;
#[cfg(test)]
mod authenticity;
#[cfg(test)]
mod beside_original;
#[cfg(test)]
mod canaries;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod checks;
#[cfg(test)]
mod clusters;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod doctor;
mod drill;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod freshness;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod health;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod maintenance;
#[cfg(test)]
mod management;
#[cfg(test)]
mod otlp;
#[cfg(test)]
mod otlp_harness;
#[cfg(test)]
mod otlp_outages;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod poison;
#[cfg(test)]
mod privileges;
#[cfg(test)]
mod proxy_harness;
#[cfg(test)]
mod publishing;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod replicas;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod rounds;
#[cfg(test)]
mod service_manager;
#[cfg(test)]
mod several_queues;
#[cfg(test)]
mod shards;
#[cfg(test)]
mod state_file;
#[cfg(test)]
mod status;
#[cfg(test)]
mod stores;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tap;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod upgrade;
#[cfg(test)]
mod web;
