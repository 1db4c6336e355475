"""Receives OTLP, over gRPC and over HTTP, and says what came: a line of JSON for each request, and a last one for all.

    otlp_receiver.py [--grpc-port PORT] [--http-port PORT] [--for SECONDS] [--quiet]

It stands on OpenTelemetry's own message classes and on gRPC's own server with that one's limits (4 MiB a message), so
that it reads the protocol independently of this project. It listens on loopback alone, says "ready" with its ports on
the first line, and ends at SIGTERM, SIGINT or after --for SECONDS. The bound on a message holds for HTTP too, which
answers 413.

A request's line: signal, transport, bytes (the encoded message), count (data points, spans or log records) and, for
metrics, their names. The last line: requests, points, spans, records, series (distinct name, resource and attributes,
counted by 64-bit hashes), bytes_max (the largest message) and refused. gRPC refuses what is too large before it gets
here, so that `refused` counts HTTP alone.
"""

import argparse
import gzip
import http.server
import io
import json
import signal
import socketserver
import sys
import threading
import zlib
from concurrent import futures

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces_grpc

BYTES_MAX = 4 << 20


class Tally:
    """What came so far."""

    def __init__(self, quiet):
        self.quiet, self.lock = quiet, threading.Lock()
        self.sums = dict(requests=0, points=0, spans=0, records=0, series=0, bytes_max=0, refused=0)
        self.series = set()

    def line(self, **fields):
        print(json.dumps(fields), flush=True)

    def refuse(self, transport, why):
        with self.lock:
            self.sums["refused"] += 1
            self.line(refused=why, transport=transport)

    def take(self, kind, transport, message):
        """Counts one decoded request; the lock spans all of it, since Python computes on one core anyway."""
        with self.lock:
            size, names = message.ByteSize(), set()
            if kind == "metrics":
                unit, count = "points", self.points(message, names)
            elif kind == "traces":
                unit = "spans"
                count = sum(len(s.spans) for r in message.resource_spans for s in r.scope_spans)
            else:
                unit = "records"
                count = sum(len(s.log_records) for r in message.resource_logs for s in r.scope_logs)
            sums = self.sums
            sums["requests"] += 1
            sums[unit] += count
            sums["bytes_max"] = max(sums["bytes_max"], size)
            if not self.quiet:
                names = {"names": sorted(names)} if kind == "metrics" else {}
                self.line(signal=kind, transport=transport, bytes=size, count=count, **names)

    def points(self, message, names):
        count, add = 0, self.series.add
        for of_resource in message.resource_metrics:
            resource = attributes(of_resource.resource)
            for of_scope in of_resource.scope_metrics:
                for metric in of_scope.metrics:
                    names.add(metric.name)
                    kind = metric.WhichOneof("data")
                    points = getattr(metric, kind).data_points if kind else ()
                    count += len(points)
                    of_metric = (metric.name, resource)
                    for point in points:
                        add(hash((of_metric, attributes(point))))
        return count

    def summary(self):
        with self.lock:
            self.line(**{**self.sums, "series": len(self.series)})


def attributes(owner):
    """Attributes as one hash; the order in which they were sent says nothing."""
    return hash(frozenset((pair.key, pair.value.SerializeToString()) for pair in owner.attributes))


SIGNALS = {
    "traces": (traces.ExportTraceServiceRequest, traces.ExportTraceServiceResponse),
    "metrics": (metrics.ExportMetricsServiceRequest, metrics.ExportMetricsServiceResponse),
    "logs": (logs.ExportLogsServiceRequest, logs.ExportLogsServiceResponse),
}


def grpc_server(port, tally):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), options=[("grpc.so_reuseport", 0)])

    def servicer(base, kind):
        def export(_self, request, _context):
            tally.take(kind, "grpc", request)
            return SIGNALS[kind][1]()

        return type(base.__name__, (base,), {"Export": export})()

    traces_grpc.add_TraceServiceServicer_to_server(servicer(traces_grpc.TraceServiceServicer, "traces"), server)
    metrics_grpc.add_MetricsServiceServicer_to_server(servicer(metrics_grpc.MetricsServiceServicer, "metrics"), server)
    logs_grpc.add_LogsServiceServicer_to_server(servicer(logs_grpc.LogsServiceServicer, "logs"), server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, port


class HttpServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


def http_server(port, tally):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60
        disable_nagle_algorithm = True

        def do_POST(self):
            status, body = self.export()
            if status != 200:
                tally.refuse("http", status)
                self.close_connection = True
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def export(self):
            kind = self.path.removeprefix("/v1/")
            length = self.headers.get("content-length", "")
            if not length.isdecimal():
                return 411, b""
            # Read even what is too large, but no more than can be meant: a client that still sends sees no answer.
            data = self.rfile.read(min(int(length), 16 * BYTES_MAX))
            if len(data) > BYTES_MAX:
                return 413, b""
            if kind not in SIGNALS:
                return 404, b""
            if self.headers.get("content-type") != "application/x-protobuf":
                return 415, b""
            try:
                if self.headers.get("content-encoding") == "gzip":
                    with gzip.GzipFile(fileobj=io.BytesIO(data)) as plain:
                        data = plain.read(BYTES_MAX + 1)
                    if len(data) > BYTES_MAX:
                        return 413, b""
                message = SIGNALS[kind][0].FromString(data)
            except (OSError, EOFError, zlib.error, DecodeError):
                return 400, b""
            tally.take(kind, "http", message)
            return 200, SIGNALS[kind][1]().SerializeToString()

        def log_message(self, *_):
            pass

    server = HttpServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, server.server_port


def main():
    parser = argparse.ArgumentParser(description="Receives OTLP and says what came.")
    parser.add_argument("--grpc-port", type=int, default=4317, help="0 takes a free one")
    parser.add_argument("--http-port", type=int, default=4318, help="0 takes a free one")
    parser.add_argument("--for", dest="seconds", type=float, help="end after so many seconds")
    parser.add_argument("--quiet", action="store_true", help="no line for each request")
    given = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    tally = Tally(given.quiet)
    over_grpc, grpc_port = grpc_server(given.grpc_port, tally)
    over_http, http_port = http_server(given.http_port, tally)
    tally.line(ready=True, grpc_port=grpc_port, http_port=http_port)
    ended.wait(given.seconds)
    over_http.shutdown()
    over_grpc.stop(grace=2).wait()
    tally.summary()


if __name__ == "__main__":
    sys.exit(main())
