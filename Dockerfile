# The environments of envs/ in one image, for clusters that run containers rather than conda:
#   docker build --tag um-sam . && apptainer build um-sam.sif docker-daemon://um-sam:latest
#   snakemake --cores 8 --sdm conda apptainer --apptainer-args "--nv"     (--nv: NVIDIA GPUs)
# Snakemake looks for um-sam.sif beside the Snakefile (`containerized:`) and in it for each
# environment under the checksum of its files, as they are named below: an edit of envs/ needs a new image.
FROM condaforge/miniforge3:25.3.1-0
LABEL io.github.snakemake.containerized="true"
COPY envs /envs
# The CUDA build, though no GPU is here.
ENV CONDA_OVERRIDE_CUDA=12.9
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN for env in /envs/*.yaml; do \
        pin="${env%.yaml}.linux-64.pin.txt"; test -e "$pin" || pin=""; \
        prefix="/conda-envs/$(cat $pin "$env" | md5sum | cut -d' ' -f1)"; \
        if test -n "$pin"; then conda create --yes --prefix "$prefix" --file "$pin"; \
        else conda env create --yes --prefix "$prefix" --file "$env"; fi; \
    done && conda clean --all --yes
