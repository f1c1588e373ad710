# A worker for Flink, Spark, Dataflow or Dask, and the command line: all of requirements.lock, nothing else.
# docker build -t redpajama . ; for Beam's runners add the SDK's boot program (see docs/cluster.md).
FROM python:3.11-slim
WORKDIR /opt/redpajama
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY redpajama redpajama
RUN pip install --no-cache-dir --no-deps --no-build-isolation .
# one thread a library's own pool: the workers are the parallelism
ENV OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 RAYON_NUM_THREADS=1 NUMBA_NUM_THREADS=1 \
    TOKENIZERS_PARALLELISM=false NUMBA_CACHE_DIR=/tmp/numba
ENTRYPOINT ["redpajama"]
