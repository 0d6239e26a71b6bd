"""A whole stack on one machine: real Apache Kafka, gateway, processors and sink under one supervisor."""
