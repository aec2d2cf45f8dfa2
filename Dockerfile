# The environments of envs/ in one image, for clusters that use containers:
#   docker build --tag um-sam . && apptainer build um-sam.sif docker-daemon://um-sam:latest
#   snakemake --cores 8 --sdm conda apptainer --apptainer-args "--nv"     (--nv: NVIDIA GPUs)
# Snakemake looks for um-sam.sif in the working directory (`containerized:`). In the image it looks for each
# environment under the checksum of its files, as named below, so an edit of envs/ needs a new image.
FROM condaforge/miniforge3:25.3.1-0
LABEL io.github.snakemake.containerized="true"
COPY envs /envs
# Install the CUDA build although this machine has no GPU.
ENV CONDA_OVERRIDE_CUDA=12.9
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN for env in /envs/*.yaml; do \
        pin="${env%.yaml}.linux-64.pin.txt"; test -e "$pin" || pin=""; \
        prefix="/conda-envs/$(cat $pin "$env" | md5sum | cut -d' ' -f1)"; \
        if test -n "$pin"; then conda create --yes --prefix "$prefix" --file "$pin"; \
        else conda env create --yes --prefix "$prefix" --file "$env"; fi; \
    done && conda clean --all --yes
