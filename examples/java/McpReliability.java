// How reliable is each MCP server? Reads the topic of MCP calls and prints calls and errors by server.
//
// A call comes as several facts: OPEN at its START, then OK or ERROR at its END; after a failure somewhere the same fact may come
// again. Of each call_id the fact with the highest revision counts, whatever the order of arrival: so replays change nothing.
//
//   chaukas-gateway topics schema -o chaukas.desc
//   java -cp "kafka-clients.jar:protobuf-java.jar:slf4j-api.jar" McpReliability.java 127.0.0.1:9092 chaukas.metrics.mcp_calls chaukas.desc
//
// It reads to the present end of the topic, prints and ends; without a group it commits nothing. A service would join a group,
// keep the table somewhere durable and commit after it did. The messages are read by their descriptors, which need no generated
// code; `protoc --descriptor_set_in=chaukas.desc --java_out=. contracts/v1/facts.proto` makes classes of them.

import com.google.protobuf.DescriptorProtos.FileDescriptorProto;
import com.google.protobuf.DescriptorProtos.FileDescriptorSet;
import com.google.protobuf.Descriptors.Descriptor;
import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.DynamicMessage;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public final class McpReliability {
    private static final String SCHEMA = "chaukas.gateway.v1.McpCallFact";

    /** What is known of one call. */
    private record Call(int revision, String server, String status) {}

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 3) {
            System.err.println("usage: McpReliability BOOTSTRAP_SERVERS TOPIC DESCRIPTORS");
            System.exit(2);
        }
        Descriptor descriptor = descriptor(Path.of(arguments[2]), SCHEMA);
        Map<String, Call> calls = new HashMap<>();
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "earliest");
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions =
                    consumer.partitionsFor(arguments[1]).stream().map(one -> new TopicPartition(one.topic(), one.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(one -> consumer.position(one) < ends.get(one))) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    if (SCHEMA.equals(header(record, "schema"))) {
                        take(calls, header(record, "tenant_id"), DynamicMessage.parseFrom(descriptor, record.value()));
                    }
                }
            }
        }
        print(calls);
    }

    /** Keeps the fact if it is the best one of its call. The tenant is the header's: it is what the gateway checked. */
    private static void take(Map<String, Call> calls, String tenant, DynamicMessage fact) {
        Descriptor type = fact.getDescriptorForType();
        int revision = ((Number) fact.getField(type.findFieldByName("revision"))).intValue();
        String server = (String) fact.getField(type.findFieldByName("server_name"));
        // A status that this descriptor does not know keeps its number: new ones may come.
        String status = fact.getField(type.findFieldByName("status")).toString();
        calls.merge(
                tenant + "\n" + fact.getField(type.findFieldByName("call_id")),
                new Call(revision, server, status),
                (known, next) -> next.revision() > known.revision() ? next : known);
    }

    private static void print(Map<String, Call> calls) {
        Map<String, int[]> servers = new TreeMap<>();
        for (Call call : calls.values()) {
            int[] counts = servers.computeIfAbsent(call.server(), name -> new int[3]);
            counts[0]++;
            counts[1] += call.status().endsWith("_ERROR") ? 1 : 0;
            counts[2] += call.status().endsWith("_OPEN") ? 1 : 0;
        }
        servers.forEach((server, counts) -> System.out.printf("%s calls=%d errors=%d open=%d%n", server, counts[0], counts[1], counts[2]));
    }

    private static String header(ConsumerRecord<byte[], byte[]> record, String name) {
        Header found = record.headers().lastHeader(name);
        return found == null ? "" : new String(found.value(), StandardCharsets.UTF_8);
    }

    private static Descriptor descriptor(Path file, String fullName) throws Exception {
        Map<String, FileDescriptor> built = new HashMap<>();
        for (FileDescriptorProto one : FileDescriptorSet.parseFrom(Files.readAllBytes(file)).getFileList()) {
            FileDescriptor[] imports = one.getDependencyList().stream().map(built::get).toArray(FileDescriptor[]::new);
            built.put(one.getName(), FileDescriptor.buildFrom(one, imports));
        }
        for (FileDescriptor one : built.values()) {
            for (Descriptor message : one.getMessageTypes()) {
                if (message.getFullName().equals(fullName)) {
                    return message;
                }
            }
        }
        throw new IllegalArgumentException(file + " does not have " + fullName);
    }
}
