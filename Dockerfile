# One image for collector and dashboard: `spanledger serve`, `spanledger dashboard`.
FROM python:3.11-slim
WORKDIR /app
COPY requirements.lock ./
RUN pip install --no-cache-dir -r requirements.lock
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY schema schema
COPY sdk sdk
COPY collector collector
COPY dashboard dashboard
RUN pip install --no-cache-dir --no-deps . && useradd --create-home spanledger && install -d -o spanledger -m 700 /data
USER spanledger
ENTRYPOINT ["spanledger"]
CMD ["serve"]
